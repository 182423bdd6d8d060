"""From NIfTI files whose names are conspicuous through a whole tiny study to the bundles of its runs."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nifti_sets import save, write_description
from study import tiny

import inpaint_ssl
from experiments.bundle import main
from inpaint_ssl.bundle import load_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]
SUBJECTS = 10
RUN = "finetune/pretrained_labels-100pct_draw-0_seed-0"


def data_set(folder: Path) -> Path:
    """Bright squares on noise, in files and a folder named after patients."""
    root, rng = folder / "of_conspicuous_clinic", np.random.default_rng(0)
    names = [f"conspicuous_patient_{n}" for n in range(SUBJECTS)]
    for name in names:
        label = np.zeros((32, 28, 6), np.uint8)
        x, y = rng.integers(4, 14, 2)
        label[x : x + 10, y : y + 10, 1:5] = 2
        image = (rng.normal(100, 10, label.shape) + 80 * (label > 0)).astype(np.int16)
        save(root / "imagesTr" / f"{name}.nii.gz", image)
        save(root / "labelsTr" / f"{name}.nii.gz", label)
    write_description(
        root,
        name="Squares",
        modality={"0": "MRI"},
        labels={"0": "background", "2": "square"},
        training=[{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        test=[],
    )
    return root


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conspicuous_folder")
    of_data = ("data.format=msd", f"data.root={data_set(folder)}", "data.slice_axis=axial", "data.prepare_processes=1")
    short = ("split.label_fractions=(1.0,)", "finetune.max_steps=40", "finetune.validate_every_steps=20")
    assert tiny.run(folder / "study", *of_data, *short, "finetune.learning_rate=0.01") == 0
    return folder / "study"


@pytest.mark.parametrize("run", ["pretrain/seed-0", RUN])
def test_from_files_to_bundle(workdir: Path, run: str, capsys: pytest.CaptureFixture) -> None:
    output = workdir.parent / f"{run.partition('/')[0]}.zip"
    arguments = ["bundle", f"--run={workdir / run}", f"--output={output}"]
    assert main(arguments) == 0 and main([*arguments, "--verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "they agree"
    assert "conspicuous" in (workdir / run / "manifest.json").read_text()
    with zipfile.ZipFile(output) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert b"conspicuous" not in content.lower() and str(workdir.parent).encode() not in content, name
        stated = json.loads(archive.read("model.json"))
    with open(workdir / run / ("per_slice.csv" if run.startswith("pretrain") else "per_scan.csv"), newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in ("dice", "inpainting_l2_norm")]
    by_subject: dict[str, list[float]] = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).append(float(row["value"]))
    mean = np.mean([np.mean(values) for values in by_subject.values()])
    assert stated["card"]["scores"][0]["mean"] == pytest.approx(mean)
    assert (stated["card"]["subjects"], stated["card"]["part"]) == (len(by_subject), "test")
    splits = json.loads((workdir / "splits.json").read_text())
    trained_on = stated["record"]["trained_on"]
    assert trained_on["scans"] == len(splits["train"]) == len(trained_on["image_sha256"])


def test_the_bundle_segments_a_new_scan(workdir: Path) -> None:
    output = workdir.parent / "segmenting.zip"
    assert main(["bundle", f"--run={workdir / RUN}", f"--output={output}"]) == 0
    bundle = inpaint_ssl.load_bundle(output)
    assert bundle.labels == {"square": 2} and isinstance(bundle, type(load_bundle(output)))
    rng, truth = np.random.default_rng(5), np.zeros((40, 30, 8), bool)
    truth[8:19, 9:20, 2:6] = True
    image = rng.normal(100, 10, truth.shape) + 80 * truth
    mask = bundle.segment(image, (1.5, 0.5, 2.0))
    assert set(np.unique(mask)) <= {0, 2}
    found = mask == 2
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6
