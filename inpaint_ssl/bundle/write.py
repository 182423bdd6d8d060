"""Writing the bundle of a run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.bundle import archive, describe
from inpaint_ssl.bundle.card import MetricsCard, card_of_run
from inpaint_ssl.bundle.export import export_network
from inpaint_ssl.bundle.weights import to_safetensors
from inpaint_ssl.config.places import without_places
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json, write_bytes_atomic
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.trained.run import load_run

_SHORTEST_ID = 6  # characters; shorter ids are found in words by chance


@dataclass(frozen=True)
class Written:
    """path and size of a bundle; was_there: it existed with these very bytes; card: None where it has none."""

    path: Path
    size: int
    was_there: bool
    card: MetricsCard | None


def write_bundle(run: Path, output: Path) -> Written:
    """Write the bundle of the run in folder `run` to the file `output`; equal runs give equal bytes.

    Raises InputError for a folder that is no finished run, for an `output` that exists (unless it has the bytes that
    would be written), and where an id of a subject or scan stands in a name or setting that would go with the weights.
    """
    run, output = Path(run), Path(output)
    if output.is_dir():
        raise InputError(f"--output: {output} is a folder, expected the name of a file such as model.zip")
    model = load_run(run)
    config = without_places(read_json(run / "config.json", "settings of a run"))
    _check_no_ids(run, model.record, config)
    card = card_of_run(run, model.record.task, model.record.dataset, model.record.splits_sha256)
    members = {
        archive.README: describe.readme(model.record, card),
        archive.CITATION: describe.citation_file(),
        archive.CONFIG: describe.config_json(config),
        archive.WEIGHTS: to_safetensors(model.params),
        archive.NETWORK: export_network(model),
    }
    members[archive.MODEL] = describe.model_json(model.record, card, archive.fingerprints(members))
    content = archive.write_archive(members)
    was_there = output.exists()
    if was_there and output.read_bytes() != content:
        raise InputError(
            f"--output: {output} is there and is not the bundle that this run gives now; choose another name, or "
            "compare them with --verify"
        )
    if not was_there:
        write_bytes_atomic(output, content)
    return Written(output, len(content), was_there, card)


def _check_no_ids(run: Path, record: ModelRecord, config: dict[str, Any]) -> None:
    """InputError when a name or setting that travels with the weights holds an id of a scan or subject of the run."""
    about = record.to_dict()
    about.pop("trained_on")  # counts, ranges and hashes
    texts = sorted({text for value in (about, config) for text in _texts(value)})
    for one in sorted(_ids(run)):
        found = next((text for text in texts if one in text), None) if len(one) >= _SHORTEST_ID else None
        if found is not None:
            raise InputError(
                f"{run}: {found!r}, a name or setting that would go into the bundle, holds {one!r}, which is a scan or "
                "subject of the study; rename it there and train again, so that the bundle gives nobody away"
            )


def _ids(run: Path) -> set[str]:
    manifest = read_json(run / "manifest.json", "manifest of a run")
    found = {str(one) for name in ("training_scans", "training_subjects") for one in manifest.get(name, ())}
    for name in ("per_scan.csv", "per_slice.csv"):
        if (run / name).exists():
            found |= {row[key] for row in read_csv(run / name) for key in ("subject", "scan") if row.get(key)}
    return found


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON-able value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _of_all(item for pair in value.items() for item in pair)
    elif isinstance(value, list | tuple):
        yield from _of_all(value)


def _of_all(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield from _texts(value)
