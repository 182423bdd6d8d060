"""From files in the layouts of SKM-TEA and nnU-Net to Figure 6 in one command, and a study measured anew."""

import csv
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny

from experiments import phantom, predict
from experiments.main import main
from inpaint_ssl.data.phantom import AbdomenPhantom
from inpaint_ssl.data.phantom.skm_tea import write_skm_tea

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]

CLASSES = ("patellar_cartilage", "femoral_cartilage", "tibial_cartilage", "meniscus")
CHANNELS = dict(zip(CLASSES, ((0,), (1,), (2, 3), (4, 5)), strict=True))  # of "seg"


def command(config: str, workdir: Path, *more: str) -> int:
    """A study with that config, as small as the tiny one."""
    kept = {name: value for name, value in (setting.split("=", 1) for setting in tiny.SETTINGS)}
    kept |= {"split.label_fractions": "(0.2, 1.0)", "split.label_counts": "()"}
    kept |= {"seeds": "(0,)", "study.name": "clinical"}
    for phase in ("pretrain", "finetune"):
        kept |= {f"{phase}.batch_size": "8", f"{phase}.learning_rate": "0.01", f"{phase}.max_epochs": "0"}
        kept |= {f"{phase}.schedule": "cosine", f"{phase}.early_stopping_patience": "0"}
    kept |= dict(setting.split("=", 1) for setting in more)
    given = {setting.partition("=")[0] for setting in more}  # of a phantom only what is asked for
    flags = [f"--config.{k}={v}" for k, v in kept.items() if k in given or not k.startswith("data.phantom.")]
    return main(["main", f"--config=configs/{config}", f"--workdir={workdir}", *flags])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    root, workdir = (tmp_path_factory.mktemp("clinical") / name for name in ("skm_tea", "study"))
    write_skm_tea(root, 10, size=(32, 32), slices=8)
    assert command("paper_mri.py", workdir, f"data.root={root}") == 0
    return root, workdir


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def t2_by_hand(s1: float, s2: float, t1_s: float) -> float:
    """The formula with the phantom's sequence, one voxel at a time; NaN outside 0 to 100 ms."""
    tr, te, angle, spoiler_s = 0.025, 0.008, math.radians(30.0), 1560e-6
    dk = 2 * math.pi * 4258.0 * (3132.0 / 1560.0 * 100.0) * spoiler_s
    e = math.exp(-tr / t1_s - tr * dk**2 * 1.25e-9)
    k = math.sin(angle / 2) ** 2 * (1 + e) / (1 - math.cos(angle) * e)
    if s1 <= 0 or s2 <= 0:
        return 0.0 if s1 > 0 else math.nan
    t2 = -2000.0 * (tr - te) / (math.log(s2 / s1 / k) + (tr - spoiler_s / 3) * dk**2 * 1.25e-9)
    return t2 if 0 <= t2 <= 100 else math.nan


def true_values(path: Path, name: str, spacing_mm: list[float], convention: str) -> dict[str, float]:
    """Volume, area and mean T2 of the truth from the HDF5 file; sagittal slices lie along its last axis."""
    with h5py.File(path) as file:
        s1, s2, seg = (file[key][()].astype(float) for key in ("echo1", "echo2", "seg"))
    mask = seg[..., list(CHANNELS[name])].any(axis=-1)
    limits = 0.15 * s1.max(), 0.1 * (s1 - 1.2 * s2).max()
    t1_s = 1.0 if name == "meniscus" and convention == "skm_tea" else 1.2
    t2 = [
        t2_by_hand(a, b, t1_s) if a > limits[0] and a - 1.2 * b > limits[1] else math.nan
        for a, b in zip(s1[mask], s2[mask], strict=True)
    ]
    if convention == "skm_tea":
        t2 = [value for value in t2 if value > 0]
    per_slice = mask.sum(axis=(0, 1)) * spacing_mm[0] * spacing_mm[1]
    return {
        "volume_mm3": mask.sum() * math.prod(spacing_mm),
        "area_mm2": per_slice[per_slice > 0].mean(),
        "mean_t2_ms": float(np.mean(np.nan_to_num(t2))),
    }


@pytest.mark.parametrize("convention", ["skm_tea", "original_code"])
def test_truth_is_that_of_the_files(folders: tuple[Path, Path], convention: str) -> None:
    root, workdir = folders
    if convention != "skm_tea":  # measured anew with what was trained
        before = {path: path.stat().st_mtime_ns for path in workdir.rglob("result.json")}
        again = (f"data.root={root}", f"clinical.t2_convention={convention}")
        assert command("paper_mri.py", workdir, *again) == 0
        assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("result.json")}
    images = json.loads((root / "annotations" / "v1.0.0" / "test.json").read_text())["images"]
    rows = rows_of(workdir / "per_scan.csv")
    assert {row["scan"] for row in rows} == {image["scan_id"] for image in images}
    seen = {row["metric"] for row in rows}
    assert seen == {"dice", "voe", "cv", "assd_mm", "hd95_mm", "volume_mm3", "area_mm2", "mean_t2_ms"}
    image = images[0]
    for name in CLASSES:
        expected = true_values(root / "image_files" / image["file_name"], name, image["voxel_spacing"], convention)
        for row in rows:
            if (row["scan"], row["class"]) == (image["scan_id"], name) and row["metric"] in expected:
                true = expected[row["metric"]]
                assert float(row["truth"]) == pytest.approx(true, rel=1e-6)
                assert row["unit"] == "%"
                if row["prediction"] != "nan":
                    error = 100 * (float(row["prediction"]) - true) / true
                    assert float(row["value"]) == pytest.approx(error, rel=1e-5, abs=1e-4)
    clinical = json.loads((workdir / "study.json").read_text())["clinical"]
    assert clinical["t2"]["convention"] == convention and clinical["metrics"][-1] == "mean_t2_ms"


def test_figure_6_and_the_rest_of_the_report(folders: tuple[Path, Path]) -> None:
    workdir = folders[1]
    names = {path.relative_to(workdir).as_posix() for path in workdir.rglob("*") if path.is_file()}
    for metric in ("volume_mm3", "area_mm2", "mean_t2_ms"):
        assert {f"tables/{metric}.csv", f"figures/clinical_{metric}.svg", f"figures/bland_altman_{metric}.png"} <= names
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert "Clinical metrics" in page and "Bland" in page
    cell = workdir / "finetune/pretrained_labels-100pct_draw-0_seed-0"
    slices = rows_of(cell / "per_slice.csv")
    assert {row["metric"] for row in slices} == {"area_mm2"} and list(slices[0])[9] == "slice"
    whole = {}
    for row in slices:  # the mean over the slices that hold the class is the area of the scan
        whole.setdefault((row["scan"], row["class"]), []).append(float(row["truth"]))
    for row in rows_of(cell / "per_scan.csv"):
        if row["metric"] == "area_mm2":
            areas = [area for area in whole[row["scan"], row["class"]] if area > 0]
            assert float(row["truth"]) == pytest.approx(np.mean(areas))
    with np.load(cell / "examples" / f"{slices[0]['scan']}.npz") as example:
        t2, truth = example["t2_truth_ms"], example["truth"]
        assert t2.shape == truth.shape and np.isnan(t2[truth == 0]).all() and np.isfinite(t2[truth > 0]).any()


def test_ct_from_files_and_generated_alike(tmp_path: Path) -> None:
    """Abdomens written in nnU-Net's layout and read by the paper's CT config, and the same without files."""
    made = ["phantom", "--layout=nnunet", f"--output={tmp_path / 'files'}", "--subjects=10", "--unlabelled=20"]
    assert phantom.main([*made, "--size=32,32"]) == 0
    rule = "clinical.intramuscular_fat=below_-30_hu"
    alike = ("split.fractions=(0.5, 0.2, 0.3)", "split.label_fractions=(1.0,)", "data.phantom.snr=20.0")
    generated = ("data.phantom.subjects=10", "data.phantom.unlabelled_subjects=20", "data.phantom.size=(32, 32)")
    sources = {"paper_ct.py": (f"data.root={tmp_path / 'files'}",), "abdomen_phantom.py": generated}
    truths = {}
    for config, where in sources.items():
        workdir = tmp_path / config.removesuffix(".py")
        assert command(config, workdir, rule, *where, *alike) == 0
        rows = rows_of(workdir / "per_scan.csv")
        assert {row["metric"] for row in rows} >= {"volume_mm3", "area_mm2", "mean_hu"}
        assert "figure 6" in (workdir / "report.html").read_text(encoding="utf-8")
        truths[config] = {(r["scan"], r["class"], r["metric"]): r["truth"] for r in rows}
    assert truths["paper_ct.py"] == truths["abdomen_phantom.py"]
    reader = AbdomenPhantom(subjects=10, unlabelled_subjects=20, size=(32, 32), snr=20.0)
    for entry in reader.entries:
        scan = reader.read(entry)
        for label, value in reader.labels.items():
            area = truths["paper_ct.py"].get((entry.scan_id, label, "area_mm2"))
            if area is not None:
                mask = scan.label == value
                assert float(area) == pytest.approx(mask.sum() * scan.spacing_mm[0] * scan.spacing_mm[1])
                hu = truths["paper_ct.py"][entry.scan_id, label, "mean_hu"]
                assert float(hu) == pytest.approx(scan.image[..., 0][mask].astype(float).mean(), nan_ok=True)
    predicted_as_evaluated(tmp_path / "files" / "imagesTr", tmp_path / "paper_ct", tmp_path / "predicted")


def predicted_as_evaluated(images: Path, workdir: Path, output: Path) -> None:
    """A trained run applied to the files of the test scans, as to any others, finds what its evaluation found."""
    cell = workdir / "finetune/pretrained_labels-100pct_draw-0_seed-0"
    assert predict.main(["predict", f"--model={cell}", f"--input={images}", f"--output={output}"]) == 0
    records = json.loads((output / "predictions.json").read_text())["scans"]
    compared = 0
    for row in rows_of(cell / "per_scan.csv"):
        measured = {(m["class"], m["metric"]): m["value"] for m in records[row["scan"]]["measurements"]}
        if (row["class"], row["metric"]) in measured:
            expected = float(row["prediction"])
            value = measured[row["class"], row["metric"]]
            assert value == (None if math.isnan(expected) else pytest.approx(expected))
            compared += expected > 0
    assert compared >= 3
