"""The generated abdomen: what is known of it is what its slices show."""

import math

import numpy as np
import pytest
from scipy import ndimage

from configs import abdomen_phantom
from inpaint_ssl.data.geometry import display
from inpaint_ssl.data.phantom import AbdomenPhantom, PhantomDataset, abdomen
from inpaint_ssl.data.phantom import AbdomenTissue as T
from inpaint_ssl.data.phantom.abdomen_anatomy import draw_abdomen
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError
from inpaint_ssl.metrics import mean_hu

LABELS = {"muscle": 1, "subcutaneous_fat": 2, "visceral_fat": 3, "intramuscular_fat": 4}
FATS = (T.SUBCUTANEOUS_FAT, T.VISCERAL_FAT, T.INTRAMUSCULAR_FAT)


def abdomens(subjects=1, unlabelled_subjects=0, **settings):
    return AbdomenPhantom(subjects=subjects, unlabelled_subjects=unlabelled_subjects, **settings)


def truths(subjects, **settings):
    dataset = abdomens(subjects, **settings)
    return [dataset.truth(entry) for entry in dataset.entries]


def test_listing():
    dataset = abdomens(2, 1)
    assert [entry.scan_id for entry in dataset.entries] == ["abdomen_0000", "abdomen_0001", "abdomen_0002"]
    assert [entry.has_label for entry in dataset.entries] == [True, True, False]
    assert dataset.name == "abdomen_phantom" and dataset.channel_names == ("CT",) and dataset.labels == LABELS
    paper = [entry.has_label for entry in AbdomenPhantom().entries]
    assert 8 * sum(paper) < len(paper)


def test_a_scan():
    dataset = abdomens(size=(64, 80))
    scan, truth = dataset.read_with_truth(dataset.entries[0])
    assert scan.image.shape == (80, 64, 1, 1) and scan.label.shape == (80, 64, 1)
    assert scan.image.dtype == dataset.stored_dtype(dataset.entries[0]) == np.int16 and scan.label.dtype == np.uint8
    assert scan.spacing_mm == truth.spacing_mm and scan.spacing_mm[0] == scan.spacing_mm[1]
    np.testing.assert_allclose(truth.field_of_view_mm, np.multiply(scan.spacing_mm[:2], (80, 64)))
    assert 320.0 <= truth.field_of_view_mm[1] <= 500.0 and truth.field_of_view_mm[1] % 10.0 == pytest.approx(0.0)
    np.testing.assert_allclose(scan.affine @ [39.5, 31.5, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], atol=1e-9)
    np.testing.assert_array_equal(np.diag(scan.affine)[:3], scan.spacing_mm)
    assert scan.original_orientation == "RAS" and scan.original_shape == (80, 64, 1)
    np.testing.assert_array_equal(scan.label, np.where(truth.tissue <= 4, truth.tissue, 0))
    np.testing.assert_array_equal(scan.image, dataset.read(dataset.entries[0]).image)


def test_a_subject_depends_on_seed_and_number_alone():
    few, many = abdomens(2, seed=3, size=(64, 64)), abdomens(1, 4, seed=3, size=(64, 64))
    first, again = few.read(few.entries[1]), many.read(many.entries[1])
    np.testing.assert_array_equal(first.image, again.image)
    assert first.label is not None and again.label is None
    assert abdomens(2, seed=3, size=(64, 64)).settings() == few.settings() != abdomens(2, size=(64, 64)).settings()
    noisier = abdomens(2, seed=3, size=(64, 64), snr=5.0)
    other = noisier.read(noisier.entries[1])
    np.testing.assert_array_equal(first.label, other.label)
    assert not np.array_equal(first.image, other.image)


def test_subjects_differ():
    """Shape, build, contrast and field of view; the ranges are those of patients: lean to obese, muscular to wasted."""
    found = truths(40, size=(64, 64))
    labels = [t.tissue == T.MUSCLE for t in found[:12]] + [
        t.tissue == T.MUSCLE for t in truths(3, seed=1, size=(64, 64))
    ]
    for i, first in enumerate(labels):
        for second in labels[i + 1 :]:
            assert 2.0 * (first & second).sum() / (first.sum() + second.sum()) < 0.85
    areas = {t: np.array([truth.area_mm2[t] for truth in found]) / 100.0 for t in (T.MUSCLE, *FATS)}
    for tissue, (low, high) in {T.MUSCLE: (90, 140), T.SUBCUTANEOUS_FAT: (90, 300), T.VISCERAL_FAT: (80, 160)}.items():
        assert areas[tissue].min() < low and areas[tissue].max() > high
    assert areas[T.INTRAMUSCULAR_FAT].max() > 4.0 * areas[T.INTRAMUSCULAR_FAT].min()
    assert len({truth.field_of_view_mm for truth in found}) > 5
    venous = [truth.mean_hu[T.KIDNEY] > 100.0 for truth in found]
    assert 8 < sum(venous) < 32
    for tissue in (T.GAS, T.ORAL_CONTRAST, T.TABLE, T.CALCIFICATION):
        assert any(tissue in truth.area_mm2 for truth in found) and not all(tissue in t.area_mm2 for t in found)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (80, 128)])
def test_every_class_in_every_subject(size):
    for seed in (0, 7):
        for truth in truths(8, seed=seed, size=size):
            assert np.bincount(truth.tissue.ravel(), minlength=5)[1:5].min() >= 6


def test_every_tissue_is_there():
    assert {tissue for truth in truths(8, size=(192, 192)) for tissue in truth.area_mm2} == set(T)


def test_areas_are_those_of_a_rendering_at_four_times_the_resolution():
    coarse, fine = truths(4, size=(96, 96)), truths(4, size=(384, 384))
    for one, other in zip(coarse, fine, strict=True):
        assert one.field_of_view_mm == other.field_of_view_mm
        for tissue, rtol in ((T.MUSCLE, 0.03), (T.SUBCUTANEOUS_FAT, 0.02), (T.VISCERAL_FAT, 0.03), (T.LIVER, 0.05)):
            assert one.area_mm2[tissue] == pytest.approx(other.area_mm2[tissue], rel=rtol)
        assert one.area_mm2[T.INTRAMUSCULAR_FAT] == pytest.approx(other.area_mm2[T.INTRAMUSCULAR_FAT], rel=0.12)
        assert sum(one.area_mm2.values()) == pytest.approx(math.prod(one.field_of_view_mm))


def test_the_area_of_an_ellipse(monkeypatch):
    """In place of the anatomy, unbent: pi times the half axes, in the subject's scale."""
    monkeypatch.setattr(abdomen, "wave_field", lambda rng, points, *_: np.zeros([len(axis) for axis in points]))
    monkeypatch.setattr(
        *(abdomen, "structures"),
        lambda k, x, y, streaks: iter([(T.MUSCLE, 40.0 * (np.hypot(x / 90.0, y / 40.0) - 1.0))]),
    )
    for number, truth in enumerate(truths(3, seed=4, size=(128, 160))):
        scale = draw_abdomen(np.random.default_rng([4, number])).scale
        assert truth.area_mm2[T.MUSCLE] == pytest.approx(math.pi * 90.0 * 40.0 * scale**2, rel=0.01)


def test_known_hu():
    """Pure pixels have the mean of their tissue as drawn, in the ranges of the field; mixed ones lie between others."""
    ranges = {
        T.MUSCLE: (30, 65), T.SUBCUTANEOUS_FAT: (-115, -85), T.VISCERAL_FAT: (-105, -80),
        T.INTRAMUSCULAR_FAT: (-95, -70), T.TRABECULAR_BONE: (120, 250), T.CORTICAL_BONE: (500, 900),
        T.GAS: (-950, -850),
    }  # fmt: skip
    compared = dict.fromkeys(ranges, 0)
    for truth in truths(8, size=(160, 160)):
        for tissue, (low, high) in ranges.items():
            assert low <= truth.mean_hu[tissue] <= high
            hu = truth.hu[truth.pure & (truth.tissue == tissue)].astype(np.float64)
            if hu.size > 50:
                compared[tissue] += 1
                assert hu.mean() == pytest.approx(
                    truth.mean_hu[tissue], abs=8.0 if truth.mean_hu[tissue] > 100 else 2.0
                )
        assert truth.mean_hu[T.VISCERAL_FAT] > truth.mean_hu[T.SUBCUTANEOUS_FAT]
        assert (truth.hu[truth.pure & (truth.tissue == T.AIR)] == -1000.0).all()
        assert truth.hu[(truth.tissue == T.SKIN) & ~truth.pure].min() < -300.0  # half air
        assert truth.pure.mean() > 0.7
    assert min(compared[tissue] for tissue in set(ranges) - {T.CORTICAL_BONE}) >= 4


def test_venous_contrast():
    for truth in truths(12, size=(64, 64)):
        venous = truth.mean_hu[T.BLOOD] > 100.0
        ranges = {T.BLOOD: (130, 200), T.KIDNEY: (150, 200), T.LIVER: (90, 120)} if venous else {
            T.BLOOD: (38, 48), T.KIDNEY: (25, 35), T.LIVER: (50, 65)}  # fmt: skip
        for tissue, (low, high) in ranges.items():
            assert low <= truth.mean_hu[tissue] <= high


def outline(truth):
    """The body without the table, and the geometric mean of its axes in mm."""
    solid = ndimage.binary_opening(~np.isin(truth.tissue[:, :, 0], (T.AIR, T.TABLE)), iterations=2)
    body = ndimage.binary_fill_holes(solid)
    axes = [np.ptp(np.flatnonzero(body.any(axis=axis))) + 1 for axis in (0, 1)]
    return body, math.sqrt(axes[0] * axes[1]) * truth.spacing_mm[0]


def test_noise_is_as_stated():
    """150 HU over the SNR in the middle of an average body (265 mm), growing with the square of its width."""
    clean, noisy = abdomens(8, size=(192, 192), snr=math.inf), abdomens(8, size=(192, 192), snr=12.0)
    for entry in clean.entries:
        exact, (scan, truth) = clean.read(entry), noisy.read_with_truth(entry)
        noise = (scan.image[..., 0].astype(np.float64) - truth.hu - truth.shading_hu)[:, :, 0]
        level, (body, width_mm) = truth.noise_hu[:, :, 0], outline(truth)
        assert np.abs(exact.image[..., 0] - np.maximum(truth.hu + truth.shading_hu, -1024.0)).max() <= 0.5
        inside = ndimage.binary_erosion(body & (truth.hu[:, :, 0] > -800.0), iterations=4)  # where nothing is clipped
        relative = noise[inside] / level[inside]
        assert relative.std() == pytest.approx(1.0, abs=0.04) and abs(relative.mean()) < 0.03
        assert 0.9 < level.max() / (12.5 * (width_mm / 265.0) ** 2) < 1.03
        assert level[~body].max() < 0.75 * level.max()
        covariance = [np.mean((noise * np.roll(noise, k, axis=0))[inside]) for k in (0, 1, 4)]
        assert 0.2 < covariance[1] / covariance[0] < 0.6 and abs(covariance[2] / covariance[0]) < 0.15


def test_shading_is_smooth_and_darkens_the_middle():
    depths = []
    for truth in truths(6, size=(160, 160)):
        shading, (body, _) = truth.shading_hu[:, :, 0], outline(truth)
        assert shading.max() <= 0.0 and -40.0 < shading.min() < -2.0
        depth = ndimage.distance_transform_edt(body) * truth.spacing_mm[0]
        assert (shading[~ndimage.binary_dilation(body, iterations=2)] == 0.0).all()
        middle, rim = shading[depth > 60.0].mean(), shading[(depth > 1.0) & (depth < 10.0)].mean()
        assert middle < 2.0 * rim < 0.0
        assert np.abs(np.diff(shading, axis=0)).max() < 1.5 * truth.spacing_mm[0]
        depths.append(middle)
    assert min(depths) < 1.5 * max(depths)


def test_a_scanner_clips():
    dataset = abdomens(size=(64, 64), snr=1.0)
    image = dataset.read(dataset.entries[0]).image
    assert image.min() == -1024 and 0.1 < (image == -1024).mean() < 0.5


def test_orientation():
    """Displayed as CT is read: front on top, and the patient's right, with the liver, on the left of the picture."""
    for truth in truths(12, size=(96, 96)):
        shown = display(truth.tissue, "axial")[0]
        centre = {
            t: np.argwhere(shown == t).mean(axis=0) for t in (T.LIVER, T.TRABECULAR_BONE, T.SPINAL_CANAL, T.BLOOD)
        }
        assert centre[T.LIVER][1] < centre[T.TRABECULAR_BONE][1] - 12
        assert centre[T.BLOOD][0] < centre[T.TRABECULAR_BONE][0] < centre[T.SPINAL_CANAL][0]
        lumens, n = ndimage.label(np.isin(shown, (T.GAS, T.STOOL, T.BOWEL_CONTENT, T.ORAL_CONTRAST)))
        for lumen in range(1, n + 1):
            gas, other = (np.argwhere((lumens == lumen) & part)[:, 0] for part in (shown == T.GAS, shown != T.GAS))
            assert min(len(gas), len(other)) < 4 or gas.mean() < other.mean() - 1  # gas rises
        # From the air before the belly inwards: skin, subcutaneous fat, muscle or fascia, cavity; fat behind the spine.
        column = shown[:, round(centre[T.TRABECULAR_BONE][1]) + 10]
        first = {t: np.flatnonzero(column == t).min() for t in (T.SUBCUTANEOUS_FAT, T.MUSCLE, T.VISCERAL_FAT)}
        assert first[T.SUBCUTANEOUS_FAT] < first[T.MUSCLE] < first[T.VISCERAL_FAT]
        assert np.flatnonzero(column == T.SUBCUTANEOUS_FAT).max() > np.flatnonzero(column == T.INTRAMUSCULAR_FAT).max(
            initial=0
        )


def test_muscle_that_holds_much_fat_is_darker():
    found = truths(30, size=(64, 64))
    share = [t.area_mm2[T.INTRAMUSCULAR_FAT] / (t.area_mm2[T.MUSCLE] + t.area_mm2[T.INTRAMUSCULAR_FAT]) for t in found]
    assert np.corrcoef(share, [t.mean_hu[T.MUSCLE] for t in found])[0, 1] < -0.6
    assert max(share) > 0.15 and min(share) < 0.06


def test_it_opens_as_a_data_set():
    phantom = {"anatomy": "abdomen", "subjects": 3, "unlabelled_subjects": 2, "size": (64, 64), "seed": 2, "snr": 9.0}
    dataset = open_dataset(ReaderSettings(format="phantom", modality="ct", phantom={**phantom, "slices": 24}))
    expected = abdomens(3, 2, size=(64, 64), seed=2, snr=9.0)
    assert isinstance(dataset, AbdomenPhantom) and dataset.settings() == expected.settings()
    assert dataset.entries == expected.entries
    knee = {"subjects": 3, "unlabelled_subjects": 0}
    for anatomy in ({"anatomy": "knee"}, {}):
        assert isinstance(open_dataset(ReaderSettings(format="phantom", phantom=knee | anatomy)), PhantomDataset)


def test_the_shipped_config_opens():
    data = abdomen_phantom.get_config().data
    dataset = open_dataset(ReaderSettings.from_config(data.to_dict()))
    assert isinstance(dataset, AbdomenPhantom) and (data.modality, data.slice_axis) == ("ct", "axial")
    labelled = sum(entry.has_label for entry in dataset.entries)
    assert 6 * labelled < len(dataset) and dataset.read(dataset.entries[-1]).image.shape[:2] == data.image_size


def test_labels_of_the_shipped_config_measure_what_they_are():
    """Far from 0 HU, where percent errors explode: muscle above, fat below, in the range of the field."""
    data = abdomen_phantom.get_config().data
    dataset = open_dataset(ReaderSettings.from_config(data.to_dict()))
    fat_in_muscle = []
    for entry in dataset.entries[:30]:
        scan, truth = dataset.read_with_truth(entry)
        for name, label in LABELS.items():
            measured = mean_hu(scan.label == label, scan.image[..., 0])
            low, high = (15.0, 80.0) if name == "muscle" else (-190.0, -30.0)
            assert low < measured < high and low < truth.label_hu[T(label)] < high, (entry.scan_id, name)
            assert measured == pytest.approx(truth.label_hu[T(label)], abs=12.0)  # noise
        fat_in_muscle.append(truth.label_hu[T.INTRAMUSCULAR_FAT])
    assert np.median(fat_in_muscle) < -52.0  # most of it is not border


@pytest.mark.parametrize("size", [(33, 65), (16, 16), (97, 64)])
def test_any_size(size):
    dataset = abdomens(2, size=size)
    for entry in dataset.entries:
        scan = dataset.read(entry)
        assert scan.image.shape == (size[1], size[0], 1, 1) and scan.image.min() >= -1024


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subjects": 0}, "phantom.subjects"),
        ({"subjects": -1}, "phantom.subjects"),
        ({"unlabelled_subjects": -2}, "phantom.unlabelled_subjects"),
        ({"seed": -1}, "phantom.seed"),
        ({"size": (96, 8)}, "phantom.size"),
        ({"snr": 0.0}, "phantom.snr"),
        ({"snr": math.nan}, "phantom.snr"),
    ],
)
def test_bad_arguments(change, word):
    with pytest.raises(InputError, match=word):
        AbdomenPhantom(**({"subjects": 2, "unlabelled_subjects": 0} | change))


def test_unknown_entry():
    with pytest.raises(InputError, match="abdomen_0007"):
        abdomens().read(ScanEntry("abdomen_0007", "abdomen_0007", True))
