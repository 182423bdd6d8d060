"""Preparing a data set by the command that users give: seconds and memory, beside a plain loop with nibabel.

A generated set (head-and-neck-like CT in the nnU-Net v2 layout) in two sizes shows whether memory grows with the number
of scans; --root measures the scans of a folder in that layout too. The rival reads every scan once in one process,
windows, z-scores and saves it as compressed .npz, as preprocessing scripts do. JSON: one entry a set.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
from rich.console import Console

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, verdict
from inpaint_ssl.files import write_json_atomic

GOAL_SECONDS, GOAL_BYTES, GOAL_GROWTH = 60.0, 2e9, 1.1  # of headneck_ct (222 scans); of ten times as many scans
SIZES, QUICK_SIZES = (100, 400), (3, 10)
SHAPE, QUICK_SHAPE = (62, 102, 108), (12, 14, 10)
WINDOWS = ((400.0, 50.0), (1800.0, 40.0), (500.0, 50.0))


def write_set(root: Path, count: int, shape: tuple[int, int, int]) -> None:
    """`count` labelled scans of smooth noise about a body in air, int16 HU."""
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    inside = (
        sum(np.square(axis) for axis in np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in shape), indexing="ij")) < 1
    )
    affine = np.diag([3.9, 3.9, 3.0, 1.0])
    for scan in range(count):
        hu = np.where(inside, rng.normal(40, 60, shape), rng.normal(-1000, 5, shape)).astype(np.int16)
        label = (inside & (hu > 150)).astype(np.uint8)
        nib.save(nib.Nifti1Image(hu, affine), root / "imagesTr" / f"scan_{scan:05d}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), root / "labelsTr" / f"scan_{scan:05d}.nii.gz")
    names = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "thing": 1}, "numTraining": count}
    (root / "dataset.json").write_text(json.dumps({**names, "file_ending": ".nii.gz"}), encoding="utf-8")


def command(root: Path, folder: Path) -> list[str]:
    """That prepares `root` in `folder`."""
    settings = (f"data.root={root}", f"data.prepared={folder}")
    flags = [f"--config.{setting}" for setting in settings]
    return [sys.executable, "-m", "experiments.prepare", "--config=configs/headneck_ct.py", *flags]


def measured(words: list[str]) -> tuple[float, int]:
    """Seconds of a command, and the largest memory that its processes held together.

    Proportional set size where the system has it: pages that processes share count once.
    """
    began, peak = time.monotonic(), 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, sum(map(_held, [tree, *_children(tree)])))
            time.sleep(0.1)
        if process.returncode:
            said = process.stdout.read() if process.stdout else ""
            raise OSError(f"{' '.join(words)} ended with {process.returncode}: {said.strip()[-1000:]}")
    return time.monotonic() - began, peak


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _held(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except psutil.Error:  # it has ended
        return 0


def _plain_loop(root: str, folder: str) -> None:
    """The rival, in the process that this module is started as."""
    for path in sorted(Path(root).glob("images*/*.nii.gz")):
        image: Any = nib.load(path)
        hu = np.asarray(image.dataobj, np.float32)
        channels = []
        for width, level in WINDOWS:
            clipped = np.clip(hu, level - width / 2, level + width / 2)
            mean, std = clipped.mean(axis=(0, 1), keepdims=True), clipped.std(axis=(0, 1), keepdims=True)
            channels.append((clipped - mean) / np.maximum(std, 1e-8))
        label_path = Path(root, "labelsTr", path.name.replace("_0000.nii", ".nii"))
        mask: Any = nib.load(label_path) if label_path.exists() else None
        label = np.zeros(hu.shape, np.uint8) if mask is None else np.asarray(mask.dataobj).astype(np.uint8)
        np.savez_compressed(Path(folder, path.name), image=np.stack(channels, axis=-1), label=label)


def compare(root: Path, scans: int, rival: bool = True) -> dict[str, Any]:
    """Ours, ours again (nothing has changed), and the rival, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak = measured(command(root, Path(folder)))
        again, _ = measured(command(root, Path(folder)))
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    result = {"scans": scans, "seconds": seconds, "peak_bytes": peak, "again_seconds": again, "stored_bytes": stored}
    if rival:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "experiments.benchmarks.prepare", str(root), folder]
            result["plain_seconds"], result["plain_peak_bytes"] = measured(words)
    return result


def run(output: Path, quick: bool, console: Console, root: str = "") -> Path:
    """Measure, print, and write `output`/prepare.json, whose path is returned."""
    began, date = time.monotonic(), now()
    sets: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in QUICK_SIZES if quick else SIZES:
            place = Path(folder, str(count))
            write_set(place, count, QUICK_SHAPE if quick else SHAPE)
            sets[f"generated_{count}"] = compare(place, count)
    if root:
        sets[Path(root).name] = compare(Path(root), len(list(Path(root).glob("images*/*.nii.gz"))))
    path = output / "prepare.json"
    write_json_atomic(path, {**about("prepare", date, began, quick), "sets": sets})
    for line in [*_lines(sets), f"Numbers: {path}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def _lines(sets: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, one in sets.items():
        lines.append(
            f"{name}: {one['scans']} scans in {number(one['seconds'])} s and {number(one['peak_bytes'] / 1e9)} GB; "
            f"again, unchanged, {number(one['again_seconds'])} s; plain loop {number(one['plain_seconds'])} s and "
            f"{number(one['plain_peak_bytes'] / 1e9)} GB"
        )
    small, large, *real = sets.values()
    growth = large["peak_bytes"] / small["peak_bytes"]
    lines.append(f"memory with {large['scans'] / small['scans']:g} times as many scans: {number(growth)} times")
    for one in real:
        fits = one["seconds"] <= GOAL_SECONDS and one["peak_bytes"] <= GOAL_BYTES
        lines.append(f"goal {verdict(f'<= {GOAL_SECONDS:g} s, <= {GOAL_BYTES / 1e9:g} GB', fits)}")
    return lines


if __name__ == "__main__":
    _plain_loop(*sys.argv[1:])
