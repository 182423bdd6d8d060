"""The paper's five studies at scale tiny on generated knees, from one command each, and what holds of all of them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import wilcoxon

from experiments.main import main
from inpaint_ssl.checkpoint import load_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]
ROOT = Path(__file__).resolve().parents[2]
SHORTER = (  # of scale tiny: what takes longest is compiling and starting runs
    *("--config.finetune.max_steps=4", "--config.finetune.validate_every_steps=2", "--config.engine.devices=1"),
    *("--config.pretrain.max_steps=4", "--config.pretrain.validate_every_steps=2"),
)


def command(kind: str, workdir: Path, *more: str) -> list[str]:
    flags = [f"--config=configs/{kind}.py", "--config.scale=tiny", f"--workdir={workdir}"]
    return ["main", *flags, f"--config.data.prepared={workdir.parent / 'prepared'}", *SHORTER, *more]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def transfer(root: Path) -> Path:
    assert main(command("transfer_grid", root / "transfer")) == 0
    return root / "transfer"


@pytest.fixture(scope="module")
def grid(root: Path, transfer: Path) -> Path:
    assert main(command("pretraining_grid", root / "grid", f"--config.study.from={transfer}")) == 0
    return root / "grid"


def equal(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_frozen_weights_stay_bit_equal_and_the_second_run_moves_them(transfer: Path) -> None:
    def best(name: str):
        return load_weights(transfer / name / "best")

    pretrained = best("pretrain/seed-0")
    for rate in ("0.01", "0.001"):
        frozen = best(f"finetune/FFEF_lr-{rate}_labels-34pct_draw-0_seed-0")
        both = best(f"finetune/FFBF_lr-{rate}_labels-34pct_draw-0_seed-0")
        at_once = best(f"finetune/FEF_lr-{rate}_labels-34pct_draw-0_seed-0")
        assert equal(frozen["encoder"], pretrained["encoder"]) and equal(both["encoder"], pretrained["encoder"])
        assert equal(both["decoder"], pretrained["decoder"]) and not equal(frozen["decoder"], pretrained["decoder"])
        assert not equal(at_once["encoder"], pretrained["encoder"])
        again = best(f"finetune/FFES_lr-{rate}_lr-0.01_labels-34pct_draw-0_seed-0")
        assert not equal(again["encoder"], frozen["encoder"]) and not equal(again["decoder"], frozen["decoder"])


def test_a_second_run_begins_with_every_weight_of_the_first(transfer: Path) -> None:
    rows = rows_of(transfer / "finetune/FBS_lr-0.01_lr-0.001_labels-34pct_draw-0_seed-0/transfer.csv")
    assert {row["status"] for row in rows} == {"loaded"}
    manifest = read(transfer / "finetune/FBS_lr-0.01_lr-0.001_labels-34pct_draw-0_seed-0/manifest.json")
    assert manifest["cell"]["start"] == "finetune/FBF_lr-0.01_labels-34pct_draw-0_seed-0"


def test_the_transfer_grid_is_complete_and_selects(transfer: Path) -> None:
    study = read(transfer / "study.json")
    assert [cell["status"] for cell in study["cells"]] == ["complete"] * (1 + 8 + 16)
    assert {row["split"] for row in rows_of(transfer / "per_scan.csv")} == {"validation", "test"}
    found = read(transfer / "selection.json")
    assert found["select_on"] == "validation" and set(found["selected"]) == {
        *("transfer.parts", "transfer.freeze", "finetune.learning_rate", "transfer.second_learning_rate")
    }
    page = (transfer / "report.html").read_text()
    assert "FFES" in page and (transfer / "figures").is_dir()


def test_selecting_on_the_test_set_is_marked(transfer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "transfer"
    shutil.copytree(transfer, folder)
    more = ("--config.study.select_on=test", "--config.stage=report")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("best/*")}
    assert main(command("transfer_grid", folder, f"--config.data.prepared={transfer.parent / 'prepared'}", *more)) == 0
    assert read(folder / "selection.json")["select_on"] == "test"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("best/*")} == before
    assert "test scans" in (folder / "report.html").read_text()
    assert not any("selected on the validation" in line for line in read(folder / "study.json")["departures"])
    assert main(command("transfer_grid", folder, f"--config.data.prepared={transfer.parent / 'prepared'}")) == 0
    assert read(folder / "selection.json") == read(transfer / "selection.json")  # a finished study selects anew
    assert sorted(read(folder / "study.json")["departures"]) == sorted(read(transfer / "study.json")["departures"])


def test_the_pretraining_grid_takes_over_the_transfer(grid: Path, transfer: Path) -> None:
    selected, config = read(transfer / "selection.json")["selected"], read(grid / "config.json")
    for name in ("parts", "freeze", "second_learning_rate"):
        assert config["transfer"][name] == selected[f"transfer.{name}"]
    assert config["finetune"]["learning_rate"] == selected["finetune.learning_rate"]
    study = read(grid / "study.json")
    assert {cell["status"] for cell in study["cells"]} == {"complete"}
    assert sum(cell["phase"] == "pretrain" for cell in study["cells"]) == 8
    assert {row["arm"] for row in rows_of(grid / "per_slice.csv")} == {arm["arm"] for arm in study["arms"][1:]}
    for name in ("report.html", "selection.json", "tables"):
        assert (grid / name).exists()


def test_the_pooled_test_is_the_papers(grid: Path, root: Path) -> None:
    """Each test scan once per label subset below 100 %, by SciPy."""
    workdir = root / "strategy"
    assert (
        main(command("optimal_strategy", workdir, f"--config.study.from={grid}", "--config.study.select_on=test")) == 0
    )
    dice: dict[tuple[str, float, str], list[float]] = {}
    for row in rows_of(grid / "per_scan.csv"):
        if (
            row["metric"] == "dice"
            and row["split"] == "test"
            and row["value"] != "nan"
            and float(row["label_fraction"]) < 1
        ):
            dice.setdefault((row["arm"], float(row["label_fraction"]), row["scan"]), []).append(float(row["value"]))
    tables = {path.name: path for path in (workdir / "tables").glob("*.csv")}
    ranked = [row for path in tables.values() for row in rows_of(path) if "rank" in row and "patch_size" in row]
    assert ranked, sorted(tables)
    arm = f"{ranked[0]['task']}_k-{ranked[0]['patch_size']}_{ranked[0]['sampling']}".replace(" ", "_")
    arm = arm.replace("Poisson-disc", "poisson_disc")
    scans = sorted(key[1:] for key in dice if key[0] == "from_scratch")
    gains = [np.mean(dice[(arm, *scan)]) - np.mean(dice[("from_scratch", *scan)]) for scan in scans]
    p = wilcoxon(gains, alternative="greater", method="auto").pvalue
    written = next(float(value) for name, value in ranked[0].items() if "pooled" in name)
    assert written == pytest.approx(p)
    assert read(workdir / "selection.json")["from"] == [str(grid)]


def test_the_extents_nest_and_chain_to_the_clinical_study(root: Path) -> None:
    extent = root / "extent"
    assert main(command("unlabelled_extent", extent)) == 0
    arms = {arm["arm"]: arm for arm in read(extent / "study.json")["arms"]}
    assert [arms[f"extent-{n}pct"]["pretraining_subjects"] for n in (100, 150, 200)] == [6, 9, 12]
    seen = [read(extent / f"pretrain/extent-{n}pct_seed-0/manifest.json") for n in (100, 150, 200)]
    subjects = [set(manifest["training_subjects"]) for manifest in seen]
    assert subjects[0] < subjects[1] < subjects[2] and [len(s) for s in subjects] == [6, 9, 12]
    clinical = root / "clinical"
    assert main(command("clinical", clinical, f"--config.study.from={extent}")) == 0
    chosen = read(extent / "selection.json")["selected"]["split.pretraining_extent"]
    assert read(clinical / "config.json")["split"]["pretraining_extent"] == chosen
    assert "Volume" in (clinical / "report.html").read_text()


def test_a_failed_run_is_shown_and_stops_no_other(root: Path, transfer: Path) -> None:
    folder = root / "failing"
    rates = "--config.grid.learning_rates=(1e30, 0.01)"
    assert main(command("transfer_grid", folder, rates)) == 1
    cells = {
        cell["directory"].split("/")[-1].split("_labels")[0]: cell for cell in read(folder / "study.json")["cells"]
    }
    assert cells["FEF_lr-1e+30"]["status"] == "failed" and "not finite" in cells["FEF_lr-1e+30"]["error"]
    assert cells["FES_lr-1e+30_lr-0.01"]["status"] == "missing"
    assert cells["FES_lr-0.01_lr-0.01"]["status"] == "complete"
    assert "not finite" in (folder / "report.html").read_text()


def test_two_launchers_share_a_study_and_a_kill_loses_one_run_at_most(root: Path, transfer: Path) -> None:
    folder = root / "shared"
    words = command("transfer_grid", folder)[1:]
    start = [sys.executable, "-m", "experiments.main", *words]
    alike = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiled as those of this process: equal bits
    several = [subprocess.Popen(start, cwd=ROOT, env=alike, stdout=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + 240
    while len(list(folder.glob("finetune/*/result.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    several[0].send_signal(signal.SIGKILL)
    assert several[1].wait(280) == 0
    assert several[0].wait() == -signal.SIGKILL
    study = read(folder / "study.json")
    assert [cell["status"] for cell in study["cells"]] == ["complete"] * 25
    for cell in study["cells"]:
        steps = [row["step"] for row in rows_of(folder / cell["directory"] / "metrics.csv") if row["split"] == "train"]
        assert len(steps) == len(set(steps)), cell["name"]  # trained by one process at a time
        alone = read(transfer / cell["directory"] / "result.json")
        assert alone["best_crc32"] == read(folder / cell["directory"] / "result.json")["best_crc32"]
