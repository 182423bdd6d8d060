"""Collects what RESULTS.md is written from: a small folder for each study of the evidence, without places."""

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json, write_bytes_atomic
from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.evidence.anonymous import anonymous_config, anonymous_study, without_paths
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.report.provenance import hashes
from inpaint_ssl.statistics.restoration import METRIC

_NOT_EVALUATED = f"it has no {files.STUDY} yet; run it with --config.stage=evaluate to measure what is trained"


def collect(runs: Path, evidence: Path, machine: Mapping[str, Any], *, force: bool = False) -> list[str]:
    """Write evidence/<study>/ for every study folder in `runs` that has study.json; one sentence for each.

    machine: "processor" and "cores" of the machine that the studies ran on, {} where they are not known. InputError,
    before anything is written, where `runs` has no study, where a collected study has more complete runs than the new
    one (unless `force`), and where all that is collected would reach files.LIMIT bytes.
    """
    if not Path(runs).is_dir():
        raise InputError(f"--from: no such folder: {runs}; give the folder in which the studies of the evidence lie")
    ready: dict[str, dict[str, bytes]] = {}
    said = []
    for folder in sorted(path for path in Path(runs).iterdir() if path.is_dir()):
        named, has_study = files.name_of(folder.name) is not None, (folder / files.STUDY).is_file()
        if not (named and has_study):
            if named or has_study:
                lacks = f"its name is not <data set>_<{'|'.join(files.PARTS)}>" if has_study else _NOT_EVALUATED
                said.append(f"{folder.name}: passed over, {lacks}")
            continue
        study = read_json(folder / files.STUDY, "summary of a study, written by evaluation")
        _check_newer(study, evidence / folder.name, force)
        ready[folder.name] = contents(folder, study, machine)
        done, planned = _complete(study), len(study.get("cells", ()))
        size = sum(map(len, ready[folder.name].values()))
        said.append(f"{folder.name}: {done} of {planned} runs complete, {size / 1e3:,.0f} kB")
    if not ready:
        raise InputError(
            f"--from: {runs} has no folder <data set>_<{'|'.join(files.PARTS)}> with {files.STUDY}; expected studies "
            "of configs/evidence.py; run one, and evaluate it"
        )
    _check_size(ready, evidence)
    for name, of_study in ready.items():
        for file, content in of_study.items():
            write_bytes_atomic(evidence / name / file, content)
    return said


def _complete(study: Mapping[str, Any]) -> int:
    return sum(cell.get("status") == "complete" for cell in study.get("cells", ()))


def _check_newer(study: Any, collected: Path, force: bool) -> None:
    if not isinstance(study, dict) or study.get("kind") != "arms":
        raise InputError(f'{collected.name}: {files.STUDY} is none of a study of kind "arms"; evaluate the study again')
    if force or not (collected / files.STUDY).is_file():
        return
    before = _complete(read_json(collected / files.STUDY, "summary of a collected study"))
    if _complete(study) < before:
        raise InputError(
            f"{collected.name}: {_complete(study)} runs are complete, and {before} in {collected}; nothing was "
            "written; go on with the study, or give --force to replace what was collected"
        )


def _check_size(ready: Mapping[str, Mapping[str, bytes]], evidence: Path) -> None:
    replaced = sum(
        path.stat().st_size for name, of in ready.items() for file in of if (path := evidence / name / file).is_file()
    )
    size = files.size_of(evidence) - replaced + sum(len(content) for of in ready.values() for content in of.values())
    if size >= files.LIMIT:
        largest = max(ready, key=lambda name: sum(map(len, ready[name].values())))
        raise InputError(
            f"all that is collected would be {size:,} bytes, expected fewer than {files.LIMIT:,}; the largest of the "
            f"new ones is {largest}; nothing was written; leave a study out"
        )


def contents(folder: Path, study: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, bytes]:
    """File names and bytes of one study; per_scan.csv without constant columns and the metrics of files.SPARED."""
    config = read_json(folder / files.CONFIG, "settings of a study")
    return {
        files.STUDY: _json(anonymous_study(study)),
        files.CONFIG: _json(anonymous_config(config)),
        files.SPLITS: _splits(folder / files.SPLITS),
        files.ENVIRONMENT: _json(without_paths(_environment(folder, study, machine))),
        files.SCANS: files.packed(_scans(read_rows(folder / "per_scan.csv"))),
        files.RESTORATION: files.csv_text(
            files.RESTORATION_COLUMNS, _restoration(read_rows(folder / "per_slice.csv"))
        ).encode(),
        files.CURVES: files.csv_text(files.CURVE_COLUMNS, _curves(folder, study)).encode(),
    }


def _splits(path: Path) -> bytes:
    """splits.json as it is, or without the path of the file that it was read from."""
    splits = read_json(path, "splits of a study")
    return path.read_bytes() if without_paths(splits) == splits else _json(without_paths(splits))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _scans(rows: list[dict[str, str]]) -> str:
    columns = [name for name in (rows[0] if rows else {}) if name not in files.CONSTANT]
    return files.csv_text(columns, (row for row in rows if row["metric"] not in files.SPARED))


def _restoration(rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Mean L2 norm by pretraining, seed, split and channel; values that are not finite are left out."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row["metric"] == METRIC and math.isfinite(value := float(row["value"] or "nan")):
            found.setdefault((row["arm"], row["seed"], row["split"], row["class"], row["unit"]), []).append(value)
    columns = files.RESTORATION_COLUMNS
    return [dict(zip(columns, (*key, len(v), repr(float(np.mean(v)))), strict=True)) for key, v in found.items()]


def _curves(folder: Path, study: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for cell in study.get("cells", ()):
        path = folder / cell["directory"] / "metrics.csv"
        about = {"run": cell["name"], **{key: cell[key] for key in ("phase", "arm", "label_fraction", "seed")}}
        for row in read_csv(path) if path.is_file() else ():
            if row["split"] == "validation":
                found.append({**about, "step": row["step"], "validation_loss": row["loss"]})
    return found


def _environment(folder: Path, study: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Where and with what the study ran; `finished`: UTC date of its last result, "" without one."""
    cells = [cell for cell in study.get("cells", ()) if cell.get("seconds") is not None]
    results = [path for cell in cells if (path := folder / cell["directory"] / "result.json").is_file()]
    last = max((path.stat().st_mtime for path in results), default=None)
    finished = "" if last is None else datetime.datetime.fromtimestamp(last, datetime.UTC).date().isoformat()
    return {
        "versions": study.get("versions", {}),
        "device": study.get("device", ""),
        "processor": machine.get("processor", ""),
        "cores": machine.get("cores"),
        "finished": finished,
        "seconds": sum(cell["seconds"] for cell in cells),
        "seconds_of_runs": {cell["name"]: cell["seconds"] for cell in cells},
        "sha256": hashes(folder),
    }
