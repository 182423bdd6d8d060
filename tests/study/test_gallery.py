"""The gallery of corruptions: its arrays against NumPy, as a stage of its own and in a study."""

import itertools
import math
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pytest
import tiny
from rich.console import Console

from experiments.main import main
from inpaint_ssl.corruption import PatchSpec, context_restoration
from inpaint_ssl.data.readers.nifti import NiftiDataset
from inpaint_ssl.files import read_json
from inpaint_ssl.report.load import Gallery, read_gallery
from inpaint_ssl.rng import stream_key
from inpaint_ssl.study import gallery, work

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = Path(__file__).resolve().parents[2]
OF_THE_PAPER = gallery.PAPER_PATCH_SIZES
SIZES = (4, 2)  # two of the paper's, at 32 x 32 pixels
SMALL = ("data.image_size=(32, 32)", "data.phantom.size=(32, 32)")  # as tests/study/tiny.py: compiled once for all


def flags(*settings: str) -> list[str]:
    return [f"--config.{setting}" for setting in settings]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begin(folder: Path, gallery: bool) -> None:
    """Run the tiny study but for its training, as if that had failed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.Work, "_do", lambda *_: False)
        assert tiny.run(folder, f"evaluate.corruption_gallery={gallery}") == 1


@pytest.fixture(scope="module", autouse=True)
def two_patch_sizes():
    """Eight panels instead of sixteen: each is compiled by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "PAPER_PATCH_SIZES", (64, 32))
        yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Gallery]:
    """The folder in which the gallery was drawn without any --workdir, and the gallery."""
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["main", f"--config={ROOT / 'configs' / 'gallery.py'}", *flags(*SMALL)]) == 0
    return folder, read_gallery(folder / "runs" / "gallery")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study that was begun in a folder where a gallery of another seed had been drawn before."""
    folder = tmp_path_factory.mktemp("study")
    assert tiny.run(folder, "stage=gallery", "seeds=(7,)") == 0
    begin(folder, gallery=True)
    return folder


def test_the_stage_writes_the_gallery_and_nothing_else(drawn: tuple[Path, Gallery]) -> None:
    names = {"gallery.npz", "figures/corruption_gallery.png", "figures/corruption_gallery.svg"}
    assert set(contents(drawn[0])) == {f"runs/gallery/{name}" for name in names}
    shown = drawn[1]
    assert (shown.scan, shown.slice_index, shown.patch_sizes) == ("phantom_0000", 4, SIZES)
    assert shown.fits.shape == (4, 2) and shown.fits.all() and shown.area_fraction == 0.25
    assert shown.own == ("context_restoration", "poisson_disc", 32) and not shown.shows_own


def test_prediction_zeroes_whole_patches(drawn: tuple[Path, Gallery]) -> None:
    original, panels = drawn[1].original, drawn[1].corrupted
    for (row, (task, sampling)), (column, size) in itertools.product(enumerate(drawn[1].rows), enumerate(SIZES)):
        if task != "context_prediction":
            continue
        panel = panels[..., row, column]
        zero = panel == 0
        assert np.array_equal(panel[~zero], original[~zero]) and zero.mean() >= 0.25
        runs = [len(list(pixels)) for line in zero for is_zero, pixels in itertools.groupby(line) if is_zero]
        if sampling == "poisson_disc":  # patches that never touch along a row
            assert set(runs) == {size} and zero.sum() == math.ceil(0.25 * 32 * 32 / size**2) * size**2
        else:
            assert min(runs) == size and zero.mean() < 0.25 + size**2 / 32**2


def test_restoration_only_moves_pixels(drawn: tuple[Path, Gallery]) -> None:
    original, panels = drawn[1].original, drawn[1].corrupted
    for row, column in itertools.product((2, 3), range(2)):
        panel = panels[..., row, column]
        assert drawn[1].rows[row][0] == "context_restoration"
        assert np.array_equal(np.sort(panel, axis=None), np.sort(original, axis=None))
        assert 0.15 < (panel != original).mean() < 0.35
    key = jax.random.fold_in(stream_key(0, "gallery"), 5)  # third row, second column, of two
    again = context_restoration(key, original[..., None].astype(np.float16), PatchSpec(2, "poisson_disc", 0.25))
    assert np.array_equal(np.asarray(again, np.float32)[..., 0], panels[..., 2, 1])


def test_patch_sizes_scale_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PAPER_PATCH_SIZES", OF_THE_PAPER)
    expected = {
        (512, 512): (64, 32, 16, 8),
        (80, 64): (8, 4, 2, 1),
        (32, 40): (4, 2, 1),
        (16, 16): (2, 1),
        (8, 8): (1,),
    }
    assert {size: gallery.patch_sizes(size) for size in expected} == expected


def test_a_spec_that_does_not_fit_leaves_its_panel_empty() -> None:
    image = np.random.default_rng(0).normal(size=(16, 16, 1)).astype(np.float16)
    corrupted, fits = gallery.corrupt(image, (8,), 0.6, 0, Console(quiet=True))  # Poisson-disc covers less than that
    assert fits[:, 0].tolist() == [sampling == "random" for _, sampling in gallery.ROWS]
    assert [bool(panel.any()) for panel in np.moveaxis(corrupted[..., 0], -1, 0)] == fits[:, 0].tolist()


def test_the_first_real_scan_is_read_and_no_other(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "PAPER_PATCH_SIZES", (64,))  # fewer panels to compile
    monkeypatch.chdir(tmp_path)
    read, reading = [], NiftiDataset.read
    monkeypatch.setattr(NiftiDataset, "read", lambda self, entry: read.append(entry.scan_id) or reading(self, entry))
    settings = flags(f"data.root={real_data / 'hippocampus'}", "stage=gallery")
    assert main(["main", f"--config={ROOT / 'configs' / 'hippocampus.py'}", *settings]) == 0
    picture = Path("runs/hippocampus/figures/corruption_gallery.png")
    assert capsys.readouterr().out.splitlines()[-1] == f"Picture: {picture}" and picture.is_file()
    first = min((real_data / "hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))
    assert read == [first.name.removesuffix(".nii.gz")]
    shown = read_gallery(tmp_path / "runs" / "hippocampus")
    assert shown.scan == read[0] and shown.shows_own and shown.patch_sizes == (8,)
    volume = nib.as_closest_canonical(nib.load(first)).get_fdata()
    volume = (volume - volume.mean()) / volume.std()
    middle = volume[len(volume) // 2]
    inside = np.sort(shown.original, axis=None)[-middle.size :]  # the padding has the smallest value of the volume
    assert np.allclose(inside, np.sort(middle, axis=None), atol=4e-3) and shown.slice_index == len(volume) // 2


def test_a_study_shows_its_first_training_scan(study: Path) -> None:
    shown = read_gallery(study)
    assert shown.scan == read_json(study / "splits.json", "splits")["train"][0] != "phantom_0000"
    assert shown.own == ("context_restoration", "poisson_disc", 4) and shown.shows_own
    page = (study / "report.html").read_text(encoding="utf-8")
    assert f"{shown.scan}, slice 4" in page and "Framed: the setting of this study" in page


def test_a_study_draws_it_once_and_when_wanted(study: Path) -> None:
    path = study / "gallery.npz"
    before = path.stat().st_mtime_ns
    begin(study, gallery=True)
    assert path.stat().st_mtime_ns == before
    path.unlink()
    begin(study, gallery=False)
    assert not path.exists() and "Corruptions" not in (study / "report.html").read_text(encoding="utf-8")
    begin(study, gallery=True)
    assert path.exists()


def test_the_stage_leaves_a_study_as_it_is(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(study)
    assert tiny.run(study, "stage=gallery", "seeds=(7,)") == 2
    assert "holds a different study: seeds" in capsys.readouterr().err and contents(study) == before
    assert tiny.run(study, "stage=gallery") == 0
    after = contents(study)
    own = {"gallery.npz", "figures/corruption_gallery.png", "figures/corruption_gallery.svg"}
    assert after.keys() == before.keys() and {name for name in after if after[name] != before[name]} == own
    assert read_gallery(study).scan == "phantom_0000"


@pytest.mark.slow
def test_a_whole_study_with_its_gallery(tmp_path: Path) -> None:
    assert tiny.run(tmp_path, "evaluate.corruption_gallery=True", drawn=True) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Corruptions: what pretraining has to undo" in page and "Inpainting: what pretraining learned" in page
    assert (tmp_path / "figures" / "corruption_gallery.svg").is_file()
