"""The JSON file beside a NIfTI image, as BIDS and dcm2niix write it: how the image was acquired."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from inpaint_ssl.data.readers.layouts import without_ending
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json

# Key -> name in Scan.acquisition, and what the value is multiplied by. BIDS gives times in seconds; for the spoiler of
# qDESS it has no key, so ours, which mean GE's private tags 0019,10B6 and 0019,10B7, are read beside its.
_KEYS: Mapping[str, tuple[str, float]] = {
    "RepetitionTime": ("tr_ms", 1000.0),
    "EchoTime": ("te_ms", 1000.0),
    "FlipAngle": ("flip_angle_deg", 1.0),
    "MagneticFieldStrength": ("field_strength_t", 1.0),
    **{
        name: (name, 1.0)
        for name in ("tr_ms", "te_ms", "flip_angle_deg", "spoiler_area", "spoiler_duration_us", "field_strength_t")
    },
}


def sidecar_of(image_paths: Sequence[str]) -> str:
    """The JSON file of a scan: <image>.json of its first channel, else <case>.json of <case>_0000; "" without one."""
    if not image_paths:
        return ""
    image = Path(image_paths[0])
    name = without_ending(image.name)
    for stem in dict.fromkeys((name, name.removesuffix("_0000"))):
        path = image.with_name(f"{stem}.json")
        if path.is_file():
            return str(path)
    return ""


def read_sidecar(path: str) -> dict[str, float]:
    """What it tells of the acquisition, in the names and units of Scan.acquisition; {} for the path "".

    Other keys are passed over, and so are values that are no numbers and files that hold no object: whatever lies
    beside an image need not be about it. Raises InputError (kind "listing") naming the file when it is no JSON.
    """
    if not path:
        return {}
    try:
        content = read_json(Path(path), "how a scan was acquired")
    except InputError as error:
        raise InputError(f"{error}, or remove it", "listing") from None
    found: dict[str, float] = {}
    for key, (name, factor) in _KEYS.items() if isinstance(content, dict) else ():
        value = content.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = value * factor
    return found
