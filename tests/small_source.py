"""A small source of slices with known content, for tests of batches, loop and evaluation."""

import numpy as np

from inpaint_ssl.data import ArraySliceSource, ScanInfo, example_id
from inpaint_ssl.data.geometry import place


def make_source(slices_per_scan=(3, 4), size=(16, 16), channels=1, seed=0) -> ArraySliceSource:
    """Axial scans of the image's own size; a bright square carries label 1, a dim line below it label 2."""
    rng = np.random.default_rng(seed)
    images, targets, ids, scan_of, slice_of, scans = [], [], [], [], [], []
    for number, count in enumerate(slices_per_scan):
        shape = (size[1], size[0], count)  # RAS X, Y, Z of an axial volume shown as (rows = Y, columns = X)
        name = f"scan_{number}"
        scans.append(
            ScanInfo(name, f"subject_{number}", True, count, len(images), (1.0, 1.0, 1.0), place(shape, "axial", size))
        )
        for index in range(count):
            image, target = rng.normal(0, 0.3, (*size, channels)), np.zeros(size, np.uint8)
            row, column = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
            image[row : row + 5, column : column + 5] += 3.0
            target[row : row + 5, column : column + 5] = 1
            image[row + 5, column : column + 5] -= 3.0
            target[row + 5, column : column + 5] = 2
            images.append(image.astype(np.float32))
            targets.append(target)
            ids.append(example_id(name, index))
            scan_of.append(number)
            slice_of.append(index)
    return ArraySliceSource.normalised(
        np.stack(images),
        np.stack(targets),
        np.array(ids, np.uint32),
        np.array(scan_of, np.int32),
        np.array(slice_of, np.int32),
        tuple(scans),
    )
