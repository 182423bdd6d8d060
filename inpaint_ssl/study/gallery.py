"""The gallery of corruptions: both tasks and both samplings at four patch sizes on one slice (paper, figure 1)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.batches import make_batch
from inpaint_ssl.config import pixels_of
from inpaint_ssl.corruption import CORRUPTORS, PatchSpec
from inpaint_ssl.corruption.spec import Sampling, Task
from inpaint_ssl.data import Preprocessing, ReaderSettings, SliceSource, open_dataset, source_of
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_npz_atomic
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.report.page import write_gallery_picture
from inpaint_ssl.rng import stream_key

PAPER_PATCH_SIZES = (64, 32, 16, 8)  # pixels, at 512 x 512
ROWS: tuple[tuple[Task, Sampling], ...] = (
    ("context_prediction", "poisson_disc"),
    ("context_prediction", "random"),
    ("context_restoration", "poisson_disc"),
    ("context_restoration", "random"),
)


def draw_gallery(config: ConfigDict, workdir: Path, console: Console) -> None:
    """Stage "gallery": gallery.npz and figures/corruption_gallery of the first scan, the only one that is read."""
    data = config.data
    dataset = open_dataset(ReaderSettings.from_config(data.to_dict()))
    workdir.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is found out before the work
    first = min(dataset.entries, key=lambda entry: entry.scan_id)
    write_gallery(config, source_of(dataset.read(first), Preprocessing.from_config(data.to_dict())), workdir, console)
    picture = write_gallery_picture(workdir)
    console.print(f"Picture: {picture}", highlight=False, soft_wrap=True, markup=False)


def write_gallery(config: ConfigDict, source: SliceSource, workdir: Path, console: Console) -> None:
    """Write gallery.npz from the middle slice of the first scan: its first channel and every corruption of it."""
    scan = source.scans[0]
    middle = scan.n_slices // 2
    batch = make_batch(source, np.array([scan.first + middle]), 1)
    original = np.asarray(batch.images)[0, ..., :1].astype(np.float16)
    sizes = patch_sizes(config.data.image_size)
    corrupted, fits = corrupt(original, sizes, config.corruption.area_fraction, config.seeds[0], console)
    write_npz_atomic(
        workdir / "gallery.npz",
        scan=scan.scan_id,
        slice=middle,
        original=original[..., 0],
        corrupted=corrupted,
        fits=fits,
        tasks=[task for task, _ in ROWS],
        samplings=[sampling for _, sampling in ROWS],
        patch_sizes=sizes,
        area_fraction=config.corruption.area_fraction,
        own_task=config.corruption.task,
        own_sampling=config.corruption.sampling,
        own_patch_size=config.corruption.patch_size,
    )


def patch_sizes(image_size: tuple[int, int]) -> tuple[int, ...]:
    """The paper's patch sizes scaled to an image of (height, width) pixels, largest first, each once."""
    return tuple(dict.fromkeys(pixels_of(size, image_size) for size in PAPER_PATCH_SIZES))


def corrupt(
    image: np.ndarray, sizes: tuple[int, ...], area_fraction: float, seed: int, console: Console
) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 1) corrupted in every way, (H, W, rows, sizes), and whether that was possible, (rows, sizes).

    The axes of the panels come last because panels are mostly alike, which halves the compressed file.
    """
    corrupted = np.zeros((*image.shape[:2], len(ROWS), len(sizes)), image.dtype)
    fits = np.zeros(corrupted.shape[2:], bool)
    key = stream_key(seed, "gallery")
    with StageProgress("corrupt a slice", fits.size, "panel", console=console) as progress:
        for row, (task, sampling) in enumerate(ROWS):
            for column, size in enumerate(sizes):
                panel_key = jax.random.fold_in(key, row * len(PAPER_PATCH_SIZES) + column)
                spec = PatchSpec(size, sampling, area_fraction)
                try:
                    spec.check(image.shape[:2], task)
                except InputError:
                    continue  # the panel stays empty
                corrupted[..., row, column] = CORRUPTORS[task](panel_key, jnp.asarray(image), spec)[..., 0]
                fits[row, column] = True
                progress.update(row * len(sizes) + column + 1)
        progress.finish(fits.size)
    return corrupted, fits
