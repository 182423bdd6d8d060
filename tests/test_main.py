"""The command line: whatever a user can get wrong ends with one line, exit code 2, and nothing written."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from experiments.main import main, parse

ROOT = Path(__file__).resolve().parent.parent
SCANS = [f"scan_{number:02d}" for number in range(8)]


def save(path: Path, data: np.ndarray, affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)


def image(root: Path, name: str = "scan_03") -> Path:
    return root / "imagesTr" / f"{name}.nii.gz"


def label(root: Path, name: str = "scan_03") -> Path:
    return root / "labelsTr" / f"{name}.nii.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight good scans in the Decathlon layout."""
    folder, rng = tmp_path / "Task99_Small", np.random.default_rng(0)
    for name in SCANS:
        save(image(folder, name), rng.normal(100, 20, (6, 24, 20)).astype(np.float32))
        save(label(folder, name), rng.integers(0, 3, (6, 24, 20)).astype(np.uint8))
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in SCANS]
    description = {"name": "Small", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a", "2": "b"}}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": len(SCANS), "training": pairs}))
    return folder


def arguments(root: Path, workdir: Path, *more: str) -> list[str]:
    settings = ("data.image_size=(32, 32)", "corruption.patch_size=4", "model.filters=(16, 32)")
    settings += ("evaluate.corruption_gallery=False", *more)  # compiling every corruption would take long
    flags = [f"--config.{setting}" for setting in (f"data.root={root}", *settings)]
    return ["main", "--config=configs/hippocampus.py", f"--workdir={workdir}", *flags]


def refused(argv: list[str], capsys) -> str:
    """The one line that the command prints before it ends with 2."""
    assert main(argv) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def describe(root: Path, **changes) -> None:
    values = {**json.loads((root / "dataset.json").read_text()), **changes}
    (root / "dataset.json").write_text(json.dumps(values))


def truncate(root: Path) -> None:
    image(root).write_bytes(image(root).read_bytes()[:-3000])


def shift(root: Path) -> None:
    save(label(root), np.zeros((6, 24, 20), np.uint8), np.diag([1.0, 1.0, 1.2, 1.0]))


def empty(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def not_a_number(root: Path) -> None:
    data = np.asarray(nib.load(image(root)).dataobj).copy()
    data[2, 2, 2] = np.nan
    save(image(root), data)


BAD_DATA: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no root": (lambda root: root.rename(root.parent / "elsewhere"), ("Task99_Small",)),
    "empty folder": (empty, ("Task99_Small", "dataset.json")),
    "no dataset.json": (lambda root: (root / "dataset.json").unlink(), ("dataset.json",)),
    "not JSON": (lambda root: (root / "dataset.json").write_text("{'a': 1}"), ("dataset.json", "JSON")),
    "no labels in it": (lambda root: describe(root, labels=None), ("dataset.json", "labels")),
    "label missing": (lambda root: label(root).unlink(), ("labelsTr/scan_03.nii.gz",)),
    "image missing": (lambda root: image(root).unlink(), ("imagesTr/scan_03.nii.gz",)),
    "other shape": (lambda root: save(label(root), np.zeros((6, 24, 21), np.uint8)), ("scan_03", "(6, 24, 21)")),
    "other geometry": (shift, ("imagesTr/scan_03.nii.gz", "labelsTr/scan_03.nii.gz", "mm")),
    "undeclared label": (
        lambda root: save(label(root), np.full((6, 24, 20), 7, np.uint8)),
        ("labelsTr/scan_03.nii.gz", "7"),
    ),
    "truncated": (truncate, ("imagesTr/scan_03.nii.gz",)),
    "not gzip": (lambda root: image(root).write_bytes(b"no scan at all"), ("imagesTr/scan_03.nii.gz",)),
    "empty file": (lambda root: image(root).write_bytes(b""), ("imagesTr/scan_03.nii.gz",)),
    "gzip of nothing": (lambda root: image(root).write_bytes(gzip.compress(b"")), ("imagesTr/scan_03.nii.gz",)),
    "NaN": (not_a_number, ("imagesTr/scan_03.nii.gz", "NaN")),
    "constant": (lambda root: save(image(root), np.ones((6, 24, 20), np.float32)), ("scan_03", "constant")),
    "too large": (
        lambda root: (
            [save(part(root), np.ones((6, 40, 20), np.uint8) + np.eye(40, 20, dtype=np.uint8)) for part in (image,)]
            + [save(label(root), np.ones((6, 40, 20), np.uint8))]
        ),
        ("scan_03", "(32, 40)"),
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(root: Path, tmp_path: Path, capsys, case: str) -> None:
    spoil, expected = BAD_DATA[case]
    spoil(root)
    message = refused(arguments(root, tmp_path / "study"), capsys)
    for part in expected:
        assert part in message
    assert not (tmp_path / "study").exists()


def test_too_few_subjects(root: Path, tmp_path: Path, capsys) -> None:
    pairs = json.loads((root / "dataset.json").read_text())["training"]
    describe(root, training=pairs[:2], numTraining=2)
    assert "2" in refused(arguments(root, tmp_path / "study"), capsys)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("finetune.batch_size=many",), ("finetune.batch_size", "many")),
        (("finetune.batchsize=3",), ("batchsize", "batch_size")),
        (("fintune.batch_size=3",), ("fintune", "finetune")),
        (("nothing.like.this=3",), ("nothing",)),
        (("seeds[5]=3",), ("no such setting",)),
        (("finetune.warmup_steps=2500",), ("warmup_steps", "2500")),
        (("corruption.patch_size=33",), ("patch_size", "33", "32 x 32")),
        (("corruption.area_fraction=0.9",), ("area_fraction", "0.9", "<=")),
        (("split.file=nowhere.json",), ("nowhere.json",)),
        (("data.classes=('c=cartilage',)",), ("cartilage", "a (1)")),
        (("data.modality=ct", "data.format=nnunet"), ("imagesTr/scan_00.nii.gz", "nnU-Net")),
        (("split.label_counts=(1, 200)",), ("200",)),
    ],
)
def test_bad_settings(root: Path, tmp_path: Path, capsys, more, expected) -> None:
    message = refused(arguments(root, tmp_path / "study", *more), capsys)
    for part in expected:
        assert part in message
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["main"], "--config=configs/"),
        (["main", "--config=configs/quickstart.py", "--config.study.name=.."], "names no folder of runs/"),
        (["main", "--config=configs/quickstart.py", "--config.study.name=../up"], "names no folder of runs/"),
        (["main", "--config=configs/nowhere.py", "--workdir=x"], "configs/nowhere.py"),
        (["main", "--confg=configs/quickstart.py", "--workdir=x"], "--config="),
        (["main", "--config=configs/quickstart.py", "--workdir=x", "extra"], "'extra'"),
        (["main", "--workdir=README.md"], "--config="),
        (["main", "--config=configs/quickstart.py", "--workdir=README.md"], "README.md is a file"),
    ],
)
def test_bad_command_lines(argv, expected, capsys) -> None:
    assert expected in refused(argv, capsys)


@pytest.mark.parametrize(("study", "folder"), [("quickstart", "runs/quickstart"), ("two words", "runs/two_words")])
def test_the_work_folder_is_named_after_the_study(study: str, folder: str) -> None:
    assert parse(["main", "--config=configs/quickstart.py", f"--config.study.name={study}"])[1] == Path(folder)
    assert parse(["main", "--config=configs/quickstart.py", f"--config.study.name={study}", "--workdir=x"])[1] == Path(
        "x"
    )


def test_a_folder_that_cannot_be_made(root: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(arguments(root, tmp_path / "file" / "study"), capsys)


@pytest.mark.slow
def test_overlapping_classes_are_pointed_out(root: Path, tmp_path: Path, capsys) -> None:
    settings = ("data.classes=('all=a+b', 'b')", "pretrain.max_steps=1", "finetune.max_steps=1", "stage=pretrain")
    assert main(arguments(root, tmp_path / "study", *settings)) == 0
    assert "note: classes overlap" in capsys.readouterr().out
    assert "classes overlap" in json.loads((tmp_path / "study" / "study.json").read_text())["warnings"][0]


def test_a_config_file_that_raises(tmp_path: Path, capsys) -> None:
    (tmp_path / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    assert "division by zero" in refused(["main", f"--config={tmp_path}/broken.py", f"--workdir={tmp_path}/x"], capsys)


def test_debug_shows_the_traceback(tmp_path: Path, capsys) -> None:
    assert main([*arguments(tmp_path / "nowhere", tmp_path / "study"), "--debug"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and error.strip().splitlines()[-1].startswith("error: ")


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.main", *arguments(tmp_path / "nowhere", tmp_path / "study")[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" not in done.stderr and "nowhere" in done.stderr and len(done.stderr.splitlines()) == 1
