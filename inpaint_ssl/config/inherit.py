"""What a study takes over from earlier ones: the settings that their selection.json selected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config.resolve import as_tuple, flatten
from inpaint_ssl.config.rules import is_whole
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json

SELECTION = "selection.json"
PAPER_SIDE = 512  # pixels of the paper's images, for which patch sizes are named
_PATCH_SIZE = "grid.selected_patch_size"  # selected in pixels at PAPER_SIDE, so that it fits images of any size


def pixels_of(paper_patch_size: int, image_size: tuple[int, ...]) -> int:
    """A patch size of the paper, at 512 x 512 pixels, scaled to an image of (height, width) pixels; at least 1."""
    return max(1, paper_patch_size * min(image_size) // PAPER_SIDE)


def read_selection(folder: str | Path) -> dict[str, Any]:
    """selection.json of a study; InputError when it is missing, damaged or of another version."""
    path = Path(folder) / SELECTION
    if not path.exists():
        raise InputError(
            f"config.study.from: {folder} has no {SELECTION}, expected the folder of a complete study that selects "
            "(transfer_grid, pretraining_grid, optimal_strategy, unlabelled_extent); complete it first"
        )
    content = read_json(path, "what a study selected")
    known = isinstance(content, dict) and content.get("format_version") == 1
    if not known or not isinstance(content.get("selected"), dict):
        raise InputError(
            f"{path}: expected what a study selected, format_version 1; run that study's report stage again"
        )
    return content


def inherited_settings(folders: tuple[str, ...]) -> dict[str, Any]:
    """Dotted setting -> value over all `folders`; InputError when two of them selected different values."""
    found: dict[str, tuple[Any, str]] = {}
    for folder in folders:
        for name, value in read_selection(folder)["selected"].items():
            value = as_tuple(value)
            if name in found and found[name][0] != value:
                raise InputError(
                    f"config.study.from: {found[name][1]} selected {name} = {found[name][0]!r} and {folder} {value!r}; "
                    "name one of the two"
                )
            found[name] = (value, folder)
    return {name: value for name, (value, _) in found.items()}


def inherit(config: ConfigDict) -> tuple[ConfigDict, list[str]]:
    """`config` with what the studies in config.study.from selected, and a line for every setting that this changes.

    Nothing is read for a ranking of other studies' strategies, which selects by itself. Call before resolve, which
    checks the values. InputError as read_selection and inherited_settings, and when an earlier study selected nothing.
    """
    folders = tuple(config.study["from"])
    if not folders or config.study.kind == "optimal_strategy":
        return config, []
    settings = inherited_settings(folders)
    if not settings:
        reasons = "; ".join(f"{folder}: {read_selection(folder).get('reason', '')}" for folder in folders)
        raise InputError(f"config.study.from: nothing was selected ({reasons}); set what you want to study yourself")
    changed, notes = config.copy_and_resolve_references(), []
    before = flatten(config)
    with changed.unlocked():
        for name, value in _applied(settings, config).items():
            if name not in before:
                raise InputError(
                    f"config.study.from: {name} was selected, which is no setting; expected names of configs/base.py"
                )
            *path, key = name.split(".")
            section = changed
            for part in path:
                section = section[part]
            try:
                section[key] = value
            except TypeError:
                raise InputError(
                    f"config.study.from: {name} = {value!r} was selected, expected a {type(before[name]).__name__} for "
                    f"config.{name}; mend {SELECTION} of {', '.join(folders)}, or run that study's report stage again"
                ) from None
            if before[name] != value:
                notes.append(f"{name} is {value!r}, selected by {', '.join(folders)} (was {before[name]!r})")
    return changed.lock(), notes


def _applied(settings: Mapping[str, Any], config: ConfigDict) -> dict[str, Any]:
    """The selected settings as settings of this study, whose images may be of another size."""
    applied = {name: value for name, value in settings.items() if name != _PATCH_SIZE}
    if _PATCH_SIZE in settings:
        if not is_whole(settings[_PATCH_SIZE]):
            raise InputError(
                f"config.study.from: {_PATCH_SIZE} = {settings[_PATCH_SIZE]!r} was selected, expected a whole number; "
                f"mend {SELECTION}, or run that study's report stage again"
            )
        applied["corruption.patch_size"] = pixels_of(settings[_PATCH_SIZE], config.data.image_size)
    return applied
