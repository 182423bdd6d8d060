"""What a reader needs to know besides the folder: the keys of config.data that concern reading."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class ReaderSettings:
    """Keys of config.data, explained in configs/base.py.

    scan_channels is none of them: the channels of the scans that a trained model takes, () before there is a model.
    """

    format: str = "auto"
    root: str = ""
    modality: str = "mri"
    unlabelled_roots: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_map: tuple[str, ...] = ()
    subject_pattern: str = ""
    scans_per_subject: int = 1
    geometry_tolerance_mm: float = 0.1
    hash_ids: bool = True
    id_salt_file: str = ""
    phantom: Mapping[str, Any] = field(default_factory=dict)
    scan_channels: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> "ReaderSettings":
        """From config.data, whose other keys are left alone."""
        values = {one.name: data[one.name] for one in fields(cls) if one.name not in ("phantom", "scan_channels")}
        return cls(**values, phantom=dict(data["phantom"]))
