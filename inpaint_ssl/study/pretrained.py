"""Where the pretrained weights of each seed come from: this study, or an earlier one that is checked to fit."""

from pathlib import Path

from ml_collections import ConfigDict

from inpaint_ssl.data import Preprocessing, Splits
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json
from inpaint_ssl.study.cells import Cell


def pretraining_folders(config: ConfigDict, workdir: Path) -> dict[int, Path]:
    """Seed -> folder of its pretraining.

    An earlier study (`transfer.pretrained_study`) gives each seed the pretraining of that seed or, when it holds only
    one, that one for all. InputError when there is none.
    """
    earlier = config.transfer.pretrained_study
    if not earlier:
        return {seed: workdir / Cell("pretrain", seed).directory for seed in config.seeds}
    finished = {path.parent.name: path.parent for path in sorted(Path(earlier).glob("pretrain/seed-*/result.json"))}
    found = {}
    for seed in config.seeds:
        name = Path(Cell("pretrain", seed).directory).name
        if len(finished) != 1 and name not in finished:
            listed = ", ".join(finished) or "none"
            raise InputError(
                f"config.transfer.pretrained_study: {earlier} has the finished pretrainings {listed}; expected {name} "
                "or exactly one; give the folder of a study whose stage pretrain is complete, or other config.seeds"
            )
        found[seed] = finished.get(name) or next(iter(finished.values()))
    return found


def start_folder(config: ConfigDict, workdir: Path, start: Cell) -> Path:
    """The folder of the run whose best weights another begins with; of a pretraining, perhaps in an earlier study."""
    if start.phase == "pretrain" and config.transfer.pretrained_study:
        return pretraining_folders(config, workdir)[start.seed]
    return workdir / start.directory


def check_pretraining(
    config: ConfigDict, preprocessing: Preprocessing, channel_names: tuple[str, ...], dataset_name: str, splits: Splits
) -> None:
    """InputError when an earlier study's weights saw other input than ours, or scans that we validate or test on."""
    if not config.transfer.pretrained_study:
        return
    ours = {**preprocessing.to_dict(), "input_channels": list(channel_names)}
    held_out = {*splits.validation, *splits.test}
    for folder in pretraining_folders(config, Path()).values():
        manifest = read_json(folder / "manifest.json", "manifest of a pretraining")
        theirs = {**manifest["preprocessing"], "input_channels": manifest["input_channels"]}
        # The network is convolutional: it may see larger or smaller images, but no other intensities or planes.
        free = {"image_size", *(["input_channels"] if config.transfer.adapt_input != "refuse" else [])}
        differing = [name for name in ours if name not in free and theirs.get(name) != ours[name]]
        if differing:
            name = differing[0]
            raise InputError(
                f"{folder / 'manifest.json'}: {name} was {theirs.get(name)!r} in pretraining and is {ours[name]!r} "
                "here; fine-tune with the preprocessing that the weights were pretrained with"
            )
        leaked = sorted(held_out.intersection(manifest["training_subjects"]))
        if manifest["dataset"] == dataset_name and leaked:
            raise InputError(
                f"{folder / 'manifest.json'}: {leaked[0]} ({len(leaked)} such subjects) was pretrained on and is in "
                "our validation or test split; use the same split (config.split) as that study"
            )
