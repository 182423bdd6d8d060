"""python -m experiments.doctor: exit codes, what is printed, and the page as a file."""

import re
import subprocess
import sys
from pathlib import Path

import broken_set
import pytest

from experiments.doctor import main
from inpaint_ssl.forecast import estimate

ROOT = Path(__file__).resolve().parents[2]


def flags(root: Path, *more: str) -> list[str]:
    values = (f"data.root={root}", "data.image_size=(48, 48)", "data.prepare_processes=2", "corruption.patch_size=8")
    values += ("model.filters=(16, 32)", "split.label_fractions=(1.0,)", "data.scans_per_subject=1")
    return ["--config=configs/hippocampus.py", *(f"--config.{value}" for value in values), *more]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling two steps takes longer than all the rest: see test_the_command_on_clean_data."""
    monkeypatch.setattr(estimate, "measure_step", lambda *_: (10**7, 1.0, 0.1))


def test_clean(tmp_path: Path, capsys, measured: None) -> None:
    assert main(["doctor", *flags(broken_set.clean(tmp_path))]) == 0
    printed = capsys.readouterr().out
    assert "0 errors, 0 warnings, 3 remarks" in printed and "All together: about" in printed
    assert not list(tmp_path.glob("*.html"))


def test_warnings_and_the_page(tmp_path: Path, capsys, measured: None) -> None:
    made = broken_set.MsdSet(tmp_path / "Task")
    for seed in range(6):
        made.add(f"case_{seed}", broken_set.tissue(seed))
    blank = broken_set.tissue(7)
    blank[4] = 0
    made.add("blank", blank)
    assert main(["doctor", *flags(made.write(), f"--html={tmp_path / 'out' / 'page.html'}")]) == 1
    printed = capsys.readouterr().out
    assert "WARNING  1 scan with slices of one value" in printed and "imagesTr/blank.nii.gz: slices 4 of 10" in printed
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 2 and "imagesTr/blank.nii.gz, slice 4" in page and "<svg " in page
    assert str(tmp_path) not in page and "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/png|#)', page) == [] and "url(http" not in page
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.html"]  # nothing half-written is left


def test_errors_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Splits cannot be made of two subjects, so that nothing is compiled."""
    made = broken_set.MsdSet(tmp_path / "Task")
    for seed in range(3):
        made.add(f"case_{seed}", broken_set.tissue(seed))
    made.image("case_1").write_bytes(b"no scan at all")
    (tmp_path / "split.json").write_text('{"train": ["case_0"], "validation": ["case_0"], "test": ["case_2"]}')
    command = [sys.executable, "-m", "experiments.doctor", *flags(made.write())]
    command += [f"--config.split.file={tmp_path / 'split.json'}", f"--html={tmp_path / 'page.html'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == ""
    lines = done.stdout.splitlines()
    severities = [line.split()[0] for line in lines if re.match("ERROR|WARNING|INFO", line)]
    assert severities == sorted(severities, key=["ERROR", "WARNING", "INFO"].index)
    assert any("imagesTr/case_1.nii.gz" in line for line in lines)
    assert any("case_0 in 'train' and case_0 in 'validation'" in line for line in lines)
    assert "no forecast" in done.stdout and lines[-1].startswith("Page: ")
    assert "case_1" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "--config=configs/<file>.py"),
        (["--config=configs/hippocampus.py"], "config.data.root"),
        (["--config=configs/hippocampus.py", "--config.data.root=x", "--config.data.rot=x"], "rot"),
        (["--config=configs/hippocampus.py", "--config.data.root=x", "--workdir=x"], "workdir"),
        (["--config=configs/hippocampus.py", "--config.data.root=x", "--html=tests"], "is a folder"),
        (["--config=configs/hippocampus.py", "--config.data.root=x", "word"], "'word'"),
    ],
)
def test_settings_that_cannot_be_used(argv: list[str], expected: str, capsys) -> None:
    assert main(["doctor", *argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and expected in line


def test_a_missing_root(tmp_path: Path, capsys) -> None:
    assert main(["doctor", *flags(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_on_clean_data(tmp_path: Path) -> None:
    """With a step of each phase compiled and measured."""
    command = [sys.executable, "-m", "experiments.doctor", *flags(broken_set.clean(tmp_path, 8))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Pretraining: 1 run of 2,500 steps of 16 slices, \d+ ms each \(measured\)", done.stdout)
