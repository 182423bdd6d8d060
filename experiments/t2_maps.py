"""Write T2 maps: python -m experiments.t2_maps --config=configs/paper_mri.py --config.data.root=<folder>
    --output=<folder>

<scan>_t2_ms.nii.gz of every scan with two qDESS echoes, on the grid of its file, NaN where T2 is not valid; with the
settings of config.clinical, T1 of its class in labelled voxels and 1200 ms in all others. t2_maps.json has the settings
and, of every scan, the share of voxels without a valid T2, the mean T2 of each labelled class with the number of its
voxels that have none (or one of 0 ms), and why it was refused, if it was. The same command goes on with what is
missing; a folder of other settings is refused. Exit codes: 0 done, 2 something given cannot be used or a scan has no
T2, 130 interrupted (what was written is kept).
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from configs import base
from experiments.command_line import answered, error_console, read_flags
from inpaint_ssl.config import resolve
from inpaint_ssl.data import ClassMap, ReaderSettings, Scan, ScanReader, class_map, open_dataset
from inpaint_ssl.data.nifti_output import write_nifti
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.metrics import QdessT2Map, T2Settings
from inpaint_ssl.predict.inputs import stamps
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.qdess import T1_CARTILAGE_MS, QdessSequence

RECORD = "t2_maps.json"
_SUFFIX = "_t2_ms.nii.gz"
_USAGE = "--config=configs/<file>.py --config.data.root=<folder> --output=<folder>"


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Path]:
    """(settings not yet checked, folder to write) from the command line; InputError when it cannot be read."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("output", "", "folder of the maps; made when missing", flag_values=values)

    values = read_flags(argv, define, _USAGE)
    if not values.output:
        raise InputError(f"no --output given, expected {_USAGE}")
    output = Path(values.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output: {output} is a file, expected a folder or a path where one can be made")
    return values.config, output


def _run(config: ConfigDict, output: Path, console: Console) -> int:
    reader = open_dataset(ReaderSettings.from_config(config.data.to_dict()))
    names = ", ".join(reader.channel_names)
    if len(reader.channel_names) != 2:
        raise InputError(
            f"scan {reader.entries[0].scan_id} and all others of {reader.name} have the channels {names}, expected two "
            "qDESS echoes; give a data set that has them"
        )
    classes = class_map(config.data.classes, reader.labels)
    settings = T2Settings.from_config(config.clinical.to_dict(), classes.names)
    record = _open_record(output, _about(reader, classes, settings))
    scans, refused = record["scans"], 0
    with StageProgress("T2 maps", len(reader), "scan", console=console) as progress:
        for number, entry in enumerate(reader.entries, start=1):
            path, sources = output / f"{quote(entry.scan_id, safe='')}{_SUFFIX}", stamps(reader, entry)
            known = scans.get(entry.scan_id, {})
            if not (path.is_file() and known.get("file") == path.name and known.get("sources") == sources):
                try:
                    measured = _write_map(reader.read(entry), classes, settings, path)
                    scans[entry.scan_id] = {"file": path.name, "sources": sources, **measured}
                except InputError as error:
                    refused += 1
                    path.unlink(missing_ok=True)  # of files that have changed since
                    scans[entry.scan_id] = {"refused": str(error)}
                    error_console().print(f"error: {error}")
                write_json_atomic(output / RECORD, record)
            progress.update(number, entry.scan_id)
        progress.finish(len(reader))
    for line in (*_notes(reader, scans, refused), f"T2 maps: {output}"):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return 2 if refused else 0


def _about(reader: ScanReader, classes: ClassMap, settings: T2Settings) -> dict[str, Any]:
    """Everything besides the files that decides what is written, as JSON gives it back."""
    members = dict(zip(classes.names, classes.members, strict=True))
    about = {
        "format_version": 1,
        "dataset": reader.name,
        "reader": reader.settings(),
        "classes": members,
        "t2": settings.to_dict(),
        "t1_elsewhere_ms": T1_CARTILAGE_MS,
    }
    return json.loads(json.dumps(about))


def _open_record(output: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The record of the folder, begun where there is none; InputError for a folder of other settings or without any."""
    path = output / RECORD
    if path.exists():
        record = read_json(path, "record of T2 maps")
        same = isinstance(record, dict) and {key: record.get(key) for key in about} == about
        if not same or not isinstance(record.get("scans"), dict):
            raise InputError(f"--output: {path} is of other settings or another data set; choose another folder")
        return record
    there = sorted(output.glob(f"*{_SUFFIX}"))
    if there:
        raise InputError(f"--output: {there[0]} is there without a {RECORD}; choose another folder, or move it away")
    record = {**about, "scans": {}}
    write_json_atomic(path, record)  # so that a map is known to be ours even if this ends before it is listed
    return record


def _masks(scan: Scan, classes: ClassMap) -> Iterator[tuple[str, np.ndarray]]:
    if scan.label is not None:
        membership = classes.membership()
        for index, name in enumerate(classes.names):
            yield name, membership[scan.label, index]


def _write_map(scan: Scan, classes: ClassMap, settings: T2Settings, path: Path) -> dict[str, Any]:
    """Write the map of one scan and return what is recorded of it; InputError naming a scan that has no T2."""
    if scan.image.shape[3] != 2:
        raise InputError(f"scan {scan.entry.scan_id}: {scan.image.shape[3]} channels, expected two qDESS echoes")
    try:
        sequence = QdessSequence.from_acquisition(scan.acquisition)
    except InputError as error:
        raise InputError(f"scan {scan.entry.scan_id}: {error}") from None
    t2 = QdessT2Map(scan.image[..., 0], scan.image[..., 1], sequence, settings)
    t2_ms = t2.labelled_ms(_masks(scan, classes), T1_CARTILAGE_MS)
    tissues = {}
    for name, mask in _masks(scan, classes):
        found = t2.mean_ms(mask, settings.t1_of(name))
        mean = None if math.isnan(found.mean_ms) else found.mean_ms
        tissues[name] = {"mean_t2_ms": mean, "voxels": found.voxels, "invalid": found.invalid}
    write_nifti(path, t2_ms, scan)
    note = "" if scan.label is not None else f"no label: T1 is {T1_CARTILAGE_MS:.0f} ms everywhere"
    return {"invalid_share": float(np.isnan(t2_ms).mean()), "classes": tissues, "note": note}


def _notes(reader: ScanReader, scans: dict[str, dict[str, Any]], refused: int) -> Iterator[str]:
    yield from (f"note: {note}" for note in reader.notes)
    without = [name for name, scan in scans.items() if scan.get("note")]
    if without:
        yield f"note: {len(without)} scans have no label, their T1 is {T1_CARTILAGE_MS:.0f} ms everywhere"
    if refused:
        yield f"note: {refused} of {len(reader)} scans have no T2; {RECORD} says why"


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""

    def work() -> int:
        config, output = parse(argv)
        return _run(resolve(config, base.get_config()), output, Console())

    return answered(argv, __doc__, work, "interrupted; the same command goes on with what is missing")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
