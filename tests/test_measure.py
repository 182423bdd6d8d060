"""Everything that is measured on one scan, against values worked out by hand and with SciPy."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from configs import base
from inpaint_ssl.data import ClassMap, ScanInfo
from inpaint_ssl.data.geometry import place
from inpaint_ssl.data.source import ScanVolumes
from inpaint_ssl.errors import InputError
from inpaint_ssl.measure import Measurements, Measures, measure_scan
from inpaint_ssl.qdess import QdessSequence, echo_ratio

SHAPE, SPACING = (8, 9, 10), (1.0, 2.0, 3.0)
SEQUENCE = QdessSequence(tr_ms=25.0, te_ms=8.0, flip_angle_deg=30.0, spoiler_area=3132.0, spoiler_duration_us=1560.0)


def scan_info(slice_axis: str = "sagittal", acquisition: dict[str, float] | None = None) -> ScanInfo:
    placement = place(SHAPE, slice_axis, (32, 32))
    return ScanInfo("a", "s", True, 8, 0, SPACING, placement, acquisition or {})


def settings(**changes: object) -> dict[str, object]:
    return base.get_config().clinical.to_dict() | changes


def box(*sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def row(result: Measurements, name: str, metric: str) -> dict[str, str]:
    (found,) = [one for one in result.rows if (one["class"], one["metric"]) == (name, metric)]
    return found


def numbers(one: dict[str, str]) -> tuple[float, float, float]:
    return float(one["prediction"]), float(one["truth"]), float(one["value"])


@pytest.mark.parametrize(("slice_axis", "area"), [("sagittal", (6 * 6, 4 * 9)), ("axial", (2 * 6, 3 * 4))])
def test_ct_boxes(slice_axis: str, area: tuple[float, float]) -> None:
    truth, predicted = box((2, 5), (3, 5), (4, 7)), box((1, 3), (3, 6), (4, 6))
    hu = np.full(SHAPE, -1000, np.int16)
    hu[predicted], hu[truth] = 30, 50
    classes = ClassMap(("organ", "nothing"), ((7,), (9,)))
    measures = Measures.from_config(settings(), classes, "ct", 1)
    volumes = ScanVolumes(hu[..., None], np.where(truth, 7, 0).astype(np.uint8))
    result = measure_scan(predicted.astype(np.uint8), volumes, scan_info(slice_axis), measures)
    # truth: 3 x 2 x 3 voxels of 1 x 2 x 3 mm; prediction: 2 x 3 x 2, of which 1 x 2 x 2 are true
    assert numbers(row(result, "organ", "volume_mm3")) == pytest.approx((72.0, 108.0, 100 * (72 - 108) / 108))
    assert numbers(row(result, "organ", "area_mm2")) == pytest.approx((*area, 100 * (area[0] - area[1]) / area[1]))
    mean = (4 * 50 + 8 * 30) / 12
    assert numbers(row(result, "organ", "mean_hu")) == pytest.approx((mean, 50.0, 100 * (mean - 50) / 50))
    assert numbers(row(result, "organ", "dice")) == (12, 18, pytest.approx(8 / 30))
    assert {one["unit"] for one in result.rows} == {"ratio", "mm", "%"}
    # every voxel of these boxes is on the surface
    distances = cdist(np.argwhere(predicted) * SPACING, np.argwhere(truth) * SPACING)
    there, back = distances.min(axis=1), distances.min(axis=0)
    assert float(row(result, "organ", "assd_mm")["value"]) == pytest.approx(np.mean([*there, *back]))
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    assert numbers(row(result, "organ", "hd95_mm")) == (12, 18, pytest.approx(hd95))
    for metric in ("dice", "volume_mm3", "area_mm2", "mean_hu", "hd95_mm"):
        absent = row(result, "nothing", metric)
        assert absent["flag"] == "absent" and math.isnan(float(absent["value"]))
    assert "mean_t2_ms" not in {one["metric"] for one in result.rows}
    assert len(result.rows) == 2 * 8 and result.t2 is None


def test_areas_of_slices() -> None:
    truth, predicted = box((2, 5), (3, 5), (4, 7)), box((3, 6), (3, 6), (4, 6))
    measures = Measures(ClassMap(("tissue",), ((1,),)), "mri")
    volumes = ScanVolumes(np.zeros((*SHAPE, 1), np.float32), truth.astype(np.uint8))
    result = measure_scan(predicted.astype(np.uint8), volumes, scan_info(), measures)
    found = [(one["slice"], *numbers(one), one["flag"]) for one in result.slice_rows]
    error = 100 * (36 - 36) / 36
    expected = [(2, 0.0, 36.0, -100.0, "empty_prediction"), (3, 36.0, 36.0, error, ""), (4, 36.0, 36.0, error, "")]
    assert found[:3] == expected
    assert found[3][:3] == (5, 36.0, 0.0) and math.isnan(found[3][3]) and found[3][4] == "empty_truth"


def two_echoes(t2_ms: np.ndarray, t1_ms: float = 1200.0) -> np.ndarray:
    """(X, Y, Z, 2): echo 1 is 1000 everywhere."""
    first = np.full(SHAPE, 1000.0)
    return np.stack([first, first * echo_ratio(t2_ms, SEQUENCE, t1_ms)], axis=3).astype(np.float32)


def test_t2_in_both_conventions() -> None:
    """Cartilage of 30 and 40 ms with two voxels beyond 100 ms; the meniscus was made with a T1 of 1000 ms."""
    cartilage, meniscus = box((1, 3), (1, 3), (1, 3)), box((4, 6), (4, 6), (4, 6))
    predicted = box((1, 2), (1, 3), (1, 3))
    t2_ms = np.full(SHAPE, 20.0)
    t2_ms[cartilage], t2_ms[predicted] = 40.0, 30.0
    t2_ms[2, 1, 1:3] = 150.0
    image = two_echoes(t2_ms)
    image[meniscus] = two_echoes(t2_ms, 1000.0)[meniscus]
    label = (cartilage + 2 * meniscus).astype(np.uint8)
    classes = ClassMap(("cartilage", "medial_meniscus"), ((1,), (2,)))
    prediction = (predicted + 2 * meniscus).astype(np.uint8)
    info = scan_info(acquisition=SEQUENCE.as_acquisition())
    off = {"t2_suppress_fat": False, "t2_suppress_fluid": False}
    for convention, truth_ms in (("skm_tea", (4 * 30 + 2 * 40) / 6), ("original_code", (4 * 30 + 2 * 40 + 2 * 0) / 8)):
        clinical = settings(t2_convention=convention, t2_invalid_share=0.2, **off)
        measures = Measures.from_config(clinical, classes, "mri", 2)
        result = measure_scan(prediction, ScanVolumes(image, label), info, measures)
        found = row(result, "cartilage", "mean_t2_ms")
        assert numbers(found) == pytest.approx((30.0, truth_ms, 100 * (30 - truth_ms) / truth_ms), abs=1e-3)
        assert found["flag"] == "t2_invalid"  # 2 of the 8 true voxels
        whole = numbers(row(result, "medial_meniscus", "mean_t2_ms"))
        assert whole[0] == whole[1] and whole[2] == 0
        # with a T1 of 1200 ms the meniscus of 20 ms is read a little short
        assert (abs(whole[0] - 20) < 1e-3) == (convention == "skm_tea") and abs(whole[0] - 20) < 0.5
        assert result.t2 is not None and measures.to_dict()["metrics"] == ["volume_mm3", "area_mm2", "mean_t2_ms"]
    lenient = Measures.from_config(settings(t2_invalid_share=0.25, **off), classes, "mri", 2)
    assert (
        row(measure_scan(prediction, ScanVolumes(image, label), info, lenient), "cartilage", "mean_t2_ms")["flag"] == ""
    )


def test_what_is_not_predicted_is_no_silent_zero() -> None:
    label, info = box((1, 3), (1, 3), (1, 3)).astype(np.uint8), scan_info(acquisition=SEQUENCE.as_acquisition())
    measures = Measures.from_config(settings(t2_suppress_fluid=False), ClassMap(("a",), ((1,),)), "mri", 2)
    result = measure_scan(0 * label, ScanVolumes(two_echoes(np.full(SHAPE, 30.0)), label), info, measures)
    assert {one["flag"] for one in result.rows} == {"empty_prediction"}
    assert numbers(row(result, "a", "volume_mm3")) == (0.0, 48.0, -100.0)
    assert numbers(row(result, "a", "area_mm2")) == (0.0, 24.0, -100.0)
    predicted, truth, error = numbers(row(result, "a", "mean_t2_ms"))
    assert math.isnan(predicted) and truth == pytest.approx(30, abs=1e-4) and math.isnan(error)
    for metric in ("assd_mm", "hd95_mm"):
        assert math.isnan(float(row(result, "a", metric)["value"]))
    assert numbers(row(result, "a", "dice")) == (0, 8, 0.0)


def test_a_scan_without_a_sequence_is_counted() -> None:
    """Where others have T2 it has a row, too, which says why there is no number."""
    classes = ClassMap(("a",), ((1,),))
    measures = Measures.from_config(settings(), classes, "mri", 2)
    volumes = ScanVolumes(np.ones((*SHAPE, 2), np.float32), box((1, 3), (1, 3), (1, 3)).astype(np.uint8))
    for acquisition in ({}, {"tr_ms": 25.0}, {**SEQUENCE.as_acquisition(), "flip_angle_deg": 0.0}):
        result = measure_scan(volumes.label, volumes, scan_info(acquisition=acquisition), measures)
        found = row(result, "a", "mean_t2_ms")
        assert all(map(math.isnan, numbers(found))) and found["flag"] == "t2_unknown" and result.t2 is None
        assert {one["flag"] for one in result.rows if one["metric"] != "mean_t2_ms"} == {""}
    one_channel = Measures.from_config(settings(), classes, "mri", 1)
    assert one_channel.t2 is None
    result = measure_scan(volumes.label, volumes, scan_info(), one_channel)
    assert "mean_t2_ms" not in {one["metric"] for one in result.rows}


@pytest.mark.parametrize("convention", ["skm_tea", "original_code"])
def test_a_tissue_without_any_valid_t2_is_flagged(convention: str) -> None:
    label, info = box((1, 3), (1, 3), (1, 3)).astype(np.uint8), scan_info(acquisition=SEQUENCE.as_acquisition())
    clinical = settings(t2_convention=convention, t2_invalid_share=1.0)
    measures = Measures.from_config(clinical, ClassMap(("a",), ((1,),)), "mri", 2)
    result = measure_scan(label, ScanVolumes(two_echoes(np.full(SHAPE, 150.0)), label), info, measures)
    found = row(result, "a", "mean_t2_ms")
    assert found["flag"] == ("t2_invalid" if convention == "skm_tea" else "t2_invalid;zero_truth")
    assert math.isnan(float(found["value"]))


def test_muscle_of_fats_hu_is_measured_as_intramuscular_fat() -> None:
    muscle, classes = box((1, 5), (1, 5), (1, 5)), ClassMap(("muscle", "intramuscular_fat"), ((1,), (2,)))
    hu = np.full(SHAPE, 50.0, np.float32)
    hu[1], hu[2] = -60.0, -30.0
    volumes = ScanVolumes(hu[..., None], muscle.astype(np.uint8))
    for choice, fat in (("off", 0), ("below_-30_hu", 16), ("-190_to_-30_hu", 32)):
        measures = Measures.from_config(settings(intramuscular_fat=choice), classes, "ct", 1)
        result = measure_scan(muscle.astype(np.uint8), volumes, scan_info("axial"), measures)
        assert int(row(result, "intramuscular_fat", "dice")["prediction"]) == fat
        assert int(row(result, "muscle", "dice")["prediction"]) == 64 - fat
        assert (result.prediction == 2).sum() == fat


def test_surface_distances_can_be_left_out() -> None:
    measures = Measures.from_config(settings(surface_distances=False), ClassMap(("a",), ((1,),)), "mri", 1)
    label = box((1, 3), (1, 3), (1, 3)).astype(np.uint8)
    result = measure_scan(label, ScanVolumes(np.zeros((*SHAPE, 1)), label), scan_info(), measures)
    assert [one["metric"] for one in result.rows] == ["dice", "voe", "cv", "volume_mm3", "area_mm2"]


def test_classes_that_settings_name_must_exist() -> None:
    classes = ClassMap(("muscle", "fat"), ((1,), (2,)))
    with pytest.raises(InputError, match=r"clinical\.t1_ms: no class 'bone'"):
        Measures.from_config(settings(t1_ms=("bone=300",)), classes, "mri", 2)
    with pytest.raises(InputError, match=r"clinical\.intramuscular_fat_class"):
        Measures.from_config(settings(intramuscular_fat="below_-30_hu"), classes, "ct", 1)
