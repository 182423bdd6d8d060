import math

import numpy as np
import pytest
from scipy import ndimage, stats

from inpaint_ssl.data.phantom import PhantomDataset
from inpaint_ssl.data.phantom.anatomy import Tissue
from inpaint_ssl.data.phantom.knee import FIELD_OF_VIEW_MM, SEQUENCE
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError
from inpaint_ssl.qdess import QdessSequence, echo1_signal, t2_ms_from_ratio

LABELS = {"patellar_cartilage": 1, "femoral_cartilage": 2, "tibial_cartilage": 3, "meniscus": 4}


def knees(subjects=1, unlabelled_subjects=0, **settings):
    return PhantomDataset(subjects=subjects, unlabelled_subjects=unlabelled_subjects, **settings)


def test_listing():
    dataset = knees(2, 1)
    assert [entry.scan_id for entry in dataset.entries] == ["phantom_0000", "phantom_0001", "phantom_0002"]
    assert [entry.has_label for entry in dataset.entries] == [True, True, False]
    assert dataset.entries[1].subject_id == "phantom_0001"
    assert dataset.name == "knee_phantom" and dataset.channel_names == ("echo1", "echo2") and dataset.labels == LABELS


def test_a_scan():
    dataset = knees(size=(48, 40), slices=13)
    scan = dataset.read(dataset.entries[0])
    assert scan.image.shape == (13, 40, 48, 2)
    assert scan.image.dtype == dataset.stored_dtype(dataset.entries[0]) == np.int32
    assert scan.label.shape == (13, 40, 48) and scan.label.dtype == np.uint8
    assert np.isfinite(scan.image).all() and scan.image.min() >= 0.0
    np.testing.assert_allclose(np.multiply(scan.spacing_mm, scan.label.shape), FIELD_OF_VIEW_MM)
    np.testing.assert_allclose(scan.affine @ [6.0, 19.5, 23.5, 1.0], [0.0, 0.0, 0.0, 1.0], atol=1e-9)
    assert scan.original_orientation == "RAS" and scan.original_shape == (13, 40, 48)
    assert QdessSequence.from_acquisition(scan.acquisition) == SEQUENCE


def test_a_subject_depends_on_seed_and_number_alone():
    few, many = knees(2, seed=3, size=(40, 40), slices=9), knees(3, 2, seed=3, size=(40, 40), slices=9)
    first, again = few.read(few.entries[1]), many.read(many.entries[1])
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)
    np.testing.assert_array_equal(first.image, few.read(few.entries[1]).image)
    noisier = knees(2, seed=3, size=(40, 40), slices=9, snr=5.0)
    np.testing.assert_array_equal(first.label, noisier.read(noisier.entries[1]).label)
    assert not np.array_equal(first.image, noisier.read(noisier.entries[1]).image)
    unlabelled = knees(1, 1, seed=3, size=(40, 40), slices=9)
    same_knee = unlabelled.read(unlabelled.entries[1])
    assert same_knee.label is None
    np.testing.assert_array_equal(same_knee.image, first.image)


def test_subjects_differ():
    """No two subjects share more than part of their cartilage, and seeds give other subjects."""
    volumes = []
    for seed in (0, 1):
        dataset = knees(4, seed=seed, size=(64, 64), slices=12)
        volumes += [dataset.read(entry).label == LABELS["femoral_cartilage"] for entry in dataset.entries]
    for i, first in enumerate(volumes):
        for second in volumes[i + 1 :]:
            assert 2.0 * (first & second).sum() / (first.sum() + second.sum()) < 0.8
    sizes = [volume.sum() for volume in volumes]
    assert max(sizes) > 1.25 * min(sizes)


@pytest.mark.parametrize(("size", "slices"), [((32, 32), 8), ((64, 64), 20), ((96, 96), 24), ((51, 88), 11)])
def test_every_class_in_every_subject(size, slices):
    for seed in (0, 1, 7):
        dataset = knees(6, seed=seed, size=size, slices=slices, snr=math.inf)
        for entry in dataset.entries:
            assert np.unique(dataset.read(entry).label).tolist() == [0, 1, 2, 3, 4]


def test_anatomy_is_the_same_at_every_size():
    volumes = []
    for size, slices in (((96, 96), 24), ((180, 140), 24)):
        dataset = knees(2, size=size, slices=slices, snr=math.inf)
        label = dataset.read(dataset.entries[1]).label
        volumes.append(np.bincount(label.ravel(), minlength=5)[1:] * np.prod(dataset.spacing_mm))
    np.testing.assert_allclose(volumes[0], volumes[1], rtol=0.08)


def test_layout_of_the_knee():
    """RAS: the patella lies anterior (high y), the femur's cartilage above the meniscus, that above the tibia's (z)."""
    dataset = knees(4, size=(64, 64), slices=16)
    for entry in dataset.entries:
        label = dataset.read(entry).label
        centre = {name: np.argwhere(label == value).mean(axis=0) for name, value in LABELS.items()}
        assert centre["patellar_cartilage"][1] > centre["femoral_cartilage"][1] + 8
        assert centre["patellar_cartilage"][2] > centre["meniscus"][2] + 5
        assert centre["femoral_cartilage"][2] > centre["meniscus"][2] > centre["tibial_cartilage"][2]
        # Menisci and tibial cartilage lie in two compartments: none in the middle slices, some on either side.
        slices = np.flatnonzero((label == LABELS["meniscus"]).any(axis=(1, 2)))
        assert np.diff(slices).max() > 1


def test_medial_and_lateral():
    """The fibula, a bone behind and below the joint, is lateral; from there medial_direction points across the knee."""
    dataset = knees(8, size=(64, 64), slices=24, snr=math.inf)
    directions = set()
    for entry in dataset.entries:
        scan, truth = dataset.read_with_truth(entry)
        assert truth.lateral.shape == (24, 1, 1) and truth.lateral.dtype == bool
        bone = (truth.tissue == Tissue.BONE_MARROW) | (truth.tissue == Tissue.CORTICAL_BONE)
        low = bone[:, :, :8]  # 80 to 60 mm below the middle: tibia and, smaller and behind it, fibula
        parts, n = ndimage.label(low)
        sizes = ndimage.sum_labels(low, parts, np.arange(1, n + 1))
        order = np.argsort(sizes)[::-1] + 1
        tibia, fibula = (np.argwhere(parts == i).mean(axis=0) for i in order[:2])
        assert truth.lateral[round(fibula[0]), 0, 0] and fibula[1] < tibia[1]
        # RAS: the index along X grows towards the patient's right.
        assert truth.medial_direction == ("R" if tibia[0] > fibula[0] else "L")
        assert scan.acquisition["medial_direction"] == truth.medial_direction
        assert np.abs(np.diff(truth.lateral[:, 0, 0].astype(int))).sum() == 1
        directions.add(truth.medial_direction)
    assert directions == {"L", "R"}


def test_every_tissue_is_there():
    dataset = knees()
    truth = dataset.truth(dataset.entries[0])
    assert np.unique(truth.tissue).tolist() == [int(tissue) for tissue in Tissue]
    label = dataset.read(dataset.entries[0]).label
    np.testing.assert_array_equal(label, np.where(truth.tissue <= 4, truth.tissue, 0))


def test_known_t2_is_recovered_without_noise():
    dataset = knees(3, snr=math.inf)
    bounds = {1: (26.0, 51.0), 2: (26.0, 51.0), 3: (26.0, 51.0), 4: (10.0, 21.0), 5: (44.0, 79.0), 10: (25.0, 41.0)}
    means = []
    for entry in dataset.entries:
        echoes, truth = dataset.read(entry).image.astype(np.float64), dataset.truth(entry)
        inside = truth.pure & (truth.tissue != Tissue.AIR)
        recovered = t2_ms_from_ratio(echoes[inside][:, 1] / echoes[inside][:, 0], SEQUENCE)
        np.testing.assert_allclose(recovered, truth.t2_ms[inside], atol=0.1)
        for tissue, (low, high) in bounds.items():
            known = truth.t2_ms[inside & (truth.tissue == tissue)]
            assert len(known) > 10 and low < known.min() < known.max() < high
        assert known.std() > 0.3  # varies inside a tissue
        means.append(truth.t2_ms[truth.tissue == Tissue.FEMORAL_CARTILAGE].mean())
    assert np.ptp(means) > 1.0  # and between subjects


def test_noise_is_rician_at_the_stated_snr():
    entry = knees(1, size=(128, 128)).entries[0]
    clean = knees(1, size=(128, 128), snr=math.inf)
    noisy = knees(1, size=(128, 128), snr=8.0)
    signal, truth = clean.read(entry).image, clean.truth(entry)
    measured = noisy.read(entry).image
    sigma = signal[..., 0][truth.tissue == Tissue.FEMORAL_CARTILAGE].mean() / 8.0
    air = (truth.tissue == Tissue.AIR) & truth.pure
    for echo in (0, 1):
        assert (signal[air] == 0.0).all()
        test = stats.kstest(measured[..., echo][air][::37], stats.rayleigh(scale=sigma).cdf)
        assert test.pvalue > 1e-3
        for tissue in (Tissue.CORTICAL_BONE, Tissue.MUSCLE):
            where = truth.tissue == tissue
            nu = signal[..., echo][where].astype(np.float64)
            expected = stats.rice.mean(nu / sigma, scale=sigma)
            error = measured[..., echo][where].mean() - expected.mean()
            assert abs(error) < 5.0 * sigma / np.sqrt(len(nu))
    # The two echoes have separate noise.
    assert abs(np.corrcoef(measured[air][:, 0], measured[air][:, 1])[0, 1]) < 0.02


def test_shading_is_smooth_and_multiplies_both_echoes():
    dataset = knees(4, size=(224, 224), slices=6, snr=math.inf)
    for entry in dataset.entries:
        signal, truth = dataset.read(entry).image.astype(np.float64), dataset.truth(entry)
        assert truth.shading.min() > 0.0 and truth.shading.max() / truth.shading.min() > 1.1
        for axis, step_mm in enumerate(dataset.spacing_mm):
            assert np.abs(np.diff(np.log(truth.shading), axis=axis)).max() < 0.03 * step_mm
        # Bone cortex has no texture: its echo 1 over the signal equation is the shading up to one factor.
        cortex = truth.pure & (truth.tissue == Tissue.CORTICAL_BONE)
        assert cortex.sum() > 100
        factor = signal[..., 0][cortex] / echo1_signal(truth.t2_ms[cortex], 1000.0, SEQUENCE) / truth.shading[cortex]
        assert factor.std() / factor.mean() < 0.01


def test_gain_and_contrast_vary_between_subjects():
    dataset = knees(6, size=(48, 48), slices=12, snr=math.inf)
    gains, contrasts = [], []
    for entry in dataset.entries:
        echo1, tissue = dataset.read(entry).image[..., 0], dataset.truth(entry).tissue
        gains.append(echo1[tissue == Tissue.FEMORAL_CARTILAGE].mean())
        contrasts.append(echo1[tissue == Tissue.BONE_MARROW].mean() / gains[-1])
    assert max(gains) > 1.5 * min(gains)
    assert max(contrasts) > 1.5 * min(contrasts)


@pytest.mark.parametrize(("size", "slices"), [((33, 65), 7), ((16, 16), 1), ((97, 64), 2)])
def test_any_size(size, slices):
    dataset = knees(2, size=size, slices=slices)
    for entry in dataset.entries:
        scan = dataset.read(entry)
        assert scan.image.shape == (slices, size[1], size[0], 2) and np.isfinite(scan.image).all()


def test_groups_of_slices_do_not_matter(monkeypatch):
    dataset = knees(size=(48, 48), slices=10)
    whole = dataset.read(dataset.entries[0])
    monkeypatch.setattr("inpaint_ssl.data.phantom.knee.CHUNK_VOXELS", 3 * 48 * 48)
    parts = dataset.read(dataset.entries[0])
    np.testing.assert_array_equal(whole.label, parts.label)
    np.testing.assert_array_equal(whole.image, parts.image)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subjects": 0}, "phantom.subjects"),
        ({"subjects": -1}, "phantom.subjects"),
        ({"unlabelled_subjects": -2}, "phantom.unlabelled_subjects"),
        ({"slices": 0}, "phantom.slices"),
        ({"seed": -1}, "phantom.seed"),
        ({"size": (96, 8)}, "phantom.size"),
        ({"snr": 0.0}, "phantom.snr"),
        ({"snr": math.nan}, "phantom.snr"),
    ],
)
def test_bad_arguments(change, word):
    with pytest.raises(InputError, match=word):
        PhantomDataset(**({"subjects": 2, "unlabelled_subjects": 0} | change))


def test_unknown_entry():
    with pytest.raises(InputError, match="phantom_0007"):
        knees().read(ScanEntry("phantom_0007", "phantom_0007", True))
