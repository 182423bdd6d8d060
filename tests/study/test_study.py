"""A whole study on generated knees: what it writes, what it skips, what its two arms share."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from rich.console import Console
from scipy.stats import wilcoxon
from small_source import make_source

from configs import base, quickstart
from experiments.main import parse
from inpaint_ssl import config as cfg
from inpaint_ssl.data import ClassMap
from inpaint_ssl.data.phantom.knee import SEQUENCE
from inpaint_ssl.measure import Measures
from inpaint_ssl.metrics import T2Settings
from inpaint_ssl.study import evaluation
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.prepare import _with_known_t2, prepare
from inpaint_ssl.study.training import Trainer

SCAN_COLUMNS = (
    "study,dataset,arm,label_fraction,subset_draw,seed,split,subject,scan,class,metric,unit,prediction,truth,value,flag"
)
ROOT = Path(__file__).resolve().parents[2]
KNEE = SEQUENCE.as_acquisition()


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "study"
    assert tiny.run(folder, drawn=True) == 0
    return folder


def test_everything_of_a_study_is_there(workdir: Path) -> None:
    names = {path.relative_to(workdir).as_posix() for path in workdir.rglob("*") if path.is_file()}
    run = "finetune/pretrained_labels-20pct_draw-0_seed-0"
    assert {
        *("config.json", "manifest.json", "splits.json", "study.json", "log.txt"),
        *("per_scan.csv", "per_slice.csv", "results.csv", "tables/dice.csv", "report.html"),
        *("pretrain/seed-0/metrics.csv", "pretrain/seed-0/result.json", "pretrain/seed-0/per_slice.csv"),
        *(f"{run}/transfer.csv", f"{run}/manifest.json", f"{run}/per_scan.csv", f"{run}/metrics.csv"),
        *(f"{run}/per_slice.csv", f"{run}/evaluation.json", "pretrain/seed-0/evaluation.json"),
    } <= names
    assert not [name for name in names if ".tmp" in name]
    study = json.loads((workdir / "study.json").read_text())
    assert study["bootstrap"] == {"resamples": 10000, "seed": 0}
    assert study["splits"]["train"] == 5 and study["splits"]["test"] == 3 and study["splits"]["validation"] == 2
    assert study["splits"]["pretraining_scans"] == 6  # with the unlabelled one
    assert study["label_counts"] == {"0.2": 1, "1.0": 5}
    assert [cell["status"] for cell in study["cells"]] == ["complete"] * 5
    assert any("model.filters is (16, 32) (paper: (32, 64, 128, 256, 512))" in text for text in study["departures"])


def test_per_scan_rows(workdir: Path) -> None:
    assert (workdir / "per_scan.csv").read_text().splitlines()[0] == SCAN_COLUMNS
    rows = rows_of(workdir / "per_scan.csv")
    assert len(rows) == 4 * 3 * 4 * 8  # cells, test scans, classes, metrics
    assert {row["arm"] for row in rows} == {"from_scratch", "pretrained"}
    assert {row["label_fraction"] for row in rows} == {"0.2", "1.0"}
    splits = json.loads((workdir / "splits.json").read_text())
    assert {row["subject"] for row in rows} == set(splits["test"])
    slices = rows_of(workdir / "per_slice.csv")
    assert len(slices) == 3 * 8 and {row["metric"] for row in slices} == {"inpainting_l2_norm"}


def test_results_are_those_of_scipy(workdir: Path) -> None:
    rows = [row for row in rows_of(workdir / "per_scan.csv") if row["metric"] == "dice"]
    for result in rows_of(workdir / "results.csv"):
        if result["class"] != "average":
            continue
        means: dict[str, list[float]] = {}
        for arm in ("from_scratch", "pretrained"):
            scans = sorted({row["scan"] for row in rows})
            values = [
                [
                    float(row["value"])
                    for row in rows
                    if (row["arm"], row["scan"]) == (arm, scan)
                    and float(row["label_fraction"]) == float(result["label_fraction"])
                ]
                for scan in scans
            ]
            means[arm] = [float(np.mean(scan)) for scan in values]
        difference = np.subtract(means["pretrained"], means["from_scratch"])
        assert float(result["difference"]) == pytest.approx(difference.mean(), abs=1e-9)
        expected = wilcoxon(difference, alternative="greater", method="exact").pvalue
        assert float(result["p_value"]) == pytest.approx(expected)


def test_the_same_command_only_prints_and_needs_no_jax(workdir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    code = (
        "import sys; sys.path.insert(0, 'tests/study'); from tiny import run; from pathlib import Path\n"
        "code = run(Path(sys.argv[1])); assert 'jax' not in sys.modules, 'jax was imported'; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(workdir)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout and "20 %" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()} == before


def test_a_study_killed_before_its_summary_is_completed(workdir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(workdir, folder)
    study = json.loads((folder / "study.json").read_text())
    study["cells"][-1]["status"] = "trained"  # as it was when the last evaluation had just been written
    (folder / "study.json").write_text(json.dumps(study))
    lines = (folder / "per_scan.csv").read_text().splitlines(keepends=True)
    (folder / "per_scan.csv").write_text("".join(lines[:100]))
    assert tiny.run(folder) == 0
    assert (folder / "per_scan.csv").read_text() == "".join(lines)
    assert json.loads((folder / "study.json").read_text())["cells"][-1]["status"] == "complete"


@pytest.mark.slow
def test_other_conventions_measure_anew_and_a_kill_mixes_nothing(workdir: Path, tmp_path: Path, monkeypatch) -> None:
    folder, other = tmp_path / "study", "clinical.t2_convention=original_code"
    shutil.copytree(workdir, folder)
    write, done = evaluation.write_csv_atomic, []

    def killed_at_the_second_run(path, *content):
        done.append(path)
        if [one.name for one in done].count("per_scan.csv") == 2:
            raise KeyboardInterrupt
        write(path, *content)

    monkeypatch.setattr(evaluation, "write_csv_atomic", killed_at_the_second_run)
    assert tiny.run(folder, other) == 130
    monkeypatch.undo()
    assert not (done[-1].parent / "evaluation.json").exists()
    first, text = rows_of(done[1]), (workdir / "per_scan.csv").read_text()
    assert rows_of(folder / "per_scan.csv") == first  # none of the old convention beside study.json of the new one
    assert json.loads((folder / "study.json").read_text())["clinical"]["t2"]["convention"] == "original_code"
    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("best/*")}
    assert tiny.run(folder, other) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("best/*")} == weights
    old, new = rows_of(workdir / "per_scan.csv"), rows_of(folder / "per_scan.csv")
    differing = {a["metric"] for a, b in zip(old, new, strict=True) if a != b}
    assert differing == {"mean_t2_ms"}
    assert tiny.run(folder) == 0 and (folder / "per_scan.csv").read_text() == text


def test_arms_differ_in_the_transferred_tensors_alone(workdir: Path) -> None:
    config = cfg.resolve(parse(tiny.arguments(workdir))[0], base.get_config())
    trainer = Trainer(config, prepare(config, workdir, Console(quiet=True)), workdir, {}, Console(quiet=True))
    scratch, pretrained = (
        trainer._initial_params(Cell("finetune", 0, arm, 0.2, start=start), workdir / "pretrain" / "seed-0")
        for arm, start in (("from_scratch", None), ("pretrained", Cell("pretrain", 0)))
    )
    for part, same in (("encoder", False), ("decoder", True), ("post_processing", True)):
        equal = jax.tree.map(lambda a, b: bool((a == b).all()), scratch[part], pretrained[part])
        assert jax.tree.all(equal) == same
    best = trainer._initial_params(Cell("pretrain", 0), workdir)
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), best["encoder"], pretrained["encoder"]))
    (workdir / "pretrain" / "seed-0" / "transfer.csv").unlink()


@pytest.mark.slow
def test_stages_one_by_one_give_the_same_study(workdir: Path, tmp_path: Path, capsys) -> None:
    folder, all_labels = tmp_path / "study", "split.label_fractions=(1.0,)"
    assert tiny.run(folder, all_labels, "stage=finetune") == 2
    assert "run --config.stage=pretrain first" in capsys.readouterr().err
    assert not folder.exists()
    assert tiny.run(folder, all_labels, "stage=pretrain") == 0
    assert tiny.run(folder, all_labels, "stage=evaluate") == 2
    assert "run --config.stage=finetune first" in capsys.readouterr().err
    for stage in ("finetune", "evaluate", "report"):
        assert tiny.run(folder, all_labels, f"stage={stage}") == 0
    whole = [row for row in rows_of(workdir / "per_scan.csv") if row["label_fraction"] == "1.0"]
    assert rows_of(folder / "per_scan.csv") == whole
    assert (folder / "per_slice.csv").read_text() == (workdir / "per_slice.csv").read_text()


def test_fine_tuning_again_from_an_earlier_pretraining(workdir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    assert tiny.run(folder, f"transfer.pretrained_study={workdir}", "split.label_fractions=(1.0,)") == 0
    assert not (folder / "pretrain").exists()
    again = rows_of(folder / "per_scan.csv")
    assert again == [row for row in rows_of(workdir / "per_scan.csv") if row["label_fraction"] == "1.0"]


@pytest.mark.parametrize(
    ("lacking", "channels", "known", "told"),
    [
        ((), ("echo1", "echo2"), True, ""),
        (("scan_0",), ("T1", "T2"), True, "not measured of scan_0 (1 of 2 test scans): acquisition lacks tr_ms"),
        (
            ("scan_0", "scan_1"),
            ("echo1", "echo2"),
            False,
            "not measured of scan_0 (2 of 2 test scans): acquisition lacks tr_ms",
        ),
        (("scan_0", "scan_1"), ("T1", "FLAIR"), False, ""),
    ],
)
def test_what_is_said_of_scans_without_t2(lacking, channels, known: bool, told: str) -> None:
    source = make_source((2, 2))
    scans = (replace(scan, acquisition={} if scan.scan_id in lacking else KNEE) for scan in source.scans)
    measures = Measures(ClassMap(("a",), ((1,),)), "mri", T2Settings())
    measures, lines = _with_known_t2(measures, replace(source, scans=tuple(scans)), channels)
    assert (measures.t2 is not None) == known
    assert bool(told) == bool(lines) and told in " ".join(lines)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("transfer.pretrained_study=nowhere",), "nowhere has the finished pretrainings none; expected seed-0"),
        (
            ("data.slice_axis=axial", "data.image_size=(32, 16)"),
            "slice_axis was 'sagittal' in pretraining",
        ),
        (("split.split_seed=1",), "was pretrained on and is in our validation or test split"),
        (("model.filters=(16, 48)",), "had the filters (16, 32) in pretraining and has (16, 48) here"),
    ],
)
def test_a_pretraining_that_does_not_fit_is_refused(workdir: Path, tmp_path: Path, capsys, more, message) -> None:
    assert tiny.run(tmp_path / "again", f"transfer.pretrained_study={workdir}", *more) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "again").exists()


def test_config_json_alone_continues_a_study(workdir: Path, capsys) -> None:
    from experiments.main import main

    assert main(["main", f"--workdir={workdir}"]) == 0
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("corruption.patch_size=8",), "holds a different study: corruption.patch_size (4 there, 8 now)"),
        (("data.phantom.seed=1",), "different study"),
    ],
)
def test_another_study_is_refused_and_nothing_touched(workdir: Path, capsys, more, message) -> None:
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    assert tiny.run(workdir, *more) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()} == before


def test_a_diverging_run_does_not_stop_the_others(tmp_path: Path, capsys) -> None:
    # With this learning rate pretraining overflows; the from-scratch arm has a sane one.
    code = tiny.run(
        tmp_path / "study", "pretrain.learning_rate=1e38", "log_every_steps=1", "split.label_fractions=(1.0,)"
    )
    assert code == 1
    printed = capsys.readouterr().out
    assert "failed: pretrain seed 0" in printed and "skipped: finetune pretrained" in printed
    rows = rows_of(tmp_path / "study" / "per_scan.csv")
    assert {row["arm"] for row in rows} == {"from_scratch"}
    assert (tmp_path / "study" / "report.html").exists()


def test_cells_have_meaningful_and_distinct_folders() -> None:
    config = quickstart.get_config()
    config.seeds, config.split.label_fractions = (0, 1), (0.05, 0.125, 1.0)
    folders = [cell.directory for cell in cells_of(config) if cell.phase == "finetune"]
    assert len(set(folders)) == 12
    assert "finetune/pretrained_labels-12p5pct_draw-0_seed-1" in folders
