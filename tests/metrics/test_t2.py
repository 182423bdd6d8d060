"""T2 against the numbers of the reference page, a transcription of the rules voxel by voxel, and sums by hand."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from inpaint_ssl.errors import InputError
from inpaint_ssl.metrics import QdessT2Map, T2Settings, qdess_t2_ms
from inpaint_ssl.metrics import t2 as t2_module
from inpaint_ssl.qdess import QdessSequence

KNEE: dict[str, Any] = {
    "tr_ms": 25.0, "te_ms": 8.0, "flip_angle_deg": 30.0, "spoiler_area": 3132.0, "spoiler_duration_us": 1560.0
}  # fmt: skip
OTHER: dict[str, Any] = {
    "tr_ms": 18.2, "te_ms": 5.9, "flip_angle_deg": 20.0, "spoiler_area": 1560.0, "spoiler_duration_us": 3400.0,
    "diffusivity_m2_per_s": 0.9e-9,
}  # fmt: skip
SEQUENCE = QdessSequence(**KNEE)
# Ratios whose T2 the reference page states: 15.80, 23.31, 32.29, 44.42 and 62.70 ms.
RATIOS = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
T2_MS = np.array([15.80, 23.31, 32.29, 44.42, 62.70])


def by_hand(s1: float, s2: float, sequence: dict[str, Any], t1_ms: float) -> float:
    """The formula in seconds, with D in m^2/s, for one voxel."""
    tr, te, t1, tg = sequence["tr_ms"] / 1e3, sequence["te_ms"] / 1e3, t1_ms / 1e3, sequence["spoiler_duration_us"]
    d, a = sequence.get("diffusivity_m2_per_s", 1.25e-9), math.radians(sequence["flip_angle_deg"])
    dk = 2 * math.pi * 4258 * (sequence["spoiler_area"] / tg * 100) * tg * 1e-6
    e = math.exp(-tr / t1 - tr * dk**2 * d)
    k = math.sin(a / 2) ** 2 * (1 + e) / (1 - math.cos(a) * e)
    return -2000 * (tr - te) / (math.log(s2 / s1 / k) + (tr - tg * 1e-6 / 3) * dk**2 * d)


def rules_by_hand(echo1: np.ndarray, echo2: np.ndarray, fat: bool, fluid: bool) -> np.ndarray:
    """One voxel after the other, in Python's numbers."""
    pairs = [(float(a), float(b)) for a, b in zip(echo1.ravel(), echo2.ravel(), strict=True)]
    brightest, driest = max(a for a, _ in pairs), max(a - 1.2 * b for a, b in pairs)
    result = []
    for a, b in pairs:
        t2 = by_hand(a, b, KNEE, 1200.0) if a > 0 and b > 0 else (0.0 if a > 0 else math.nan)
        valid = 0 <= t2 <= 100 and not (fat and a <= 0.15 * brightest) and not (fluid and a - 1.2 * b <= 0.1 * driest)
        result.append(t2 if valid else math.nan)
    return np.array(result).reshape(echo1.shape)


def volumes(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    echo1 = rng.uniform(0, 250, (7, 6, 5))
    return echo1.astype(dtype), (echo1 * rng.uniform(0.0, 1.0, echo1.shape)).astype(dtype)


def test_check_values() -> None:
    found = qdess_t2_ms(np.ones(5), RATIOS, **KNEE)
    np.testing.assert_allclose(found, T2_MS, atol=0.01)
    np.testing.assert_allclose(
        qdess_t2_ms(np.ones(3), np.array([0.2, 0.3, 0.4]), t1_ms=1000.0, **KNEE), [23.71, 33.06, 45.90], atol=0.01
    )
    assert found.dtype == np.float64


@pytest.mark.parametrize("sequence", [KNEE, OTHER])
def test_every_setting_and_a_t1_of_its_own_in_every_voxel(sequence: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    echo1, ratio, t1_ms = rng.uniform(50, 90, (4, 3)), rng.uniform(0.1, 0.4, (4, 3)), rng.uniform(500, 2000, (4, 3))
    echo2 = echo1 * ratio
    for times in (t1_ms, t1_ms[:1], t1_ms[:, :1], 700.0):
        found = qdess_t2_ms(echo1, echo2, t1_ms=times, bounds_ms=(-math.inf, math.inf), **sequence)
        spread = np.broadcast_to(times, echo1.shape)
        expected = [by_hand(*one) for one in zip(echo1.flat, echo2.flat, [sequence] * 12, spread.flat, strict=True)]
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8", "uint16", "int16", "int32", "int64"])
@pytest.mark.parametrize(("fat", "fluid"), [(True, True), (True, False), (False, True), (False, False)])
def test_rules_voxel_by_voxel(dtype: str, fat: bool, fluid: bool) -> None:
    echo1, echo2 = volumes(dtype)
    found = qdess_t2_ms(echo1, echo2, suppress_fat=fat, suppress_fluid=fluid, **KNEE)
    expected = rules_by_hand(echo1, echo2, fat, fluid)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert 10 < np.isnan(expected).sum() < expected.size - 50
    if not fat and not fluid:  # so it is when nothing is said
        np.testing.assert_array_equal(found, qdess_t2_ms(echo1, echo2, **KNEE))
    if fat and fluid:  # both rules are at work
        for one in ((True, False), (False, True), (False, False)):
            assert np.isnan(rules_by_hand(echo1, echo2, *one)).sum() < np.isnan(expected).sum()


def test_bounds_are_closed() -> None:
    (t2_ms,) = qdess_t2_ms(np.ones(1), np.array([0.3]), **KNEE)
    for bounds, valid in (
        ((0.0, t2_ms), True),
        ((t2_ms, 100.0), True),
        ((0.0, np.nextafter(t2_ms, 0)), False),
        ((np.nextafter(t2_ms, 100), 100.0), False),
    ):
        (found,) = qdess_t2_ms(np.ones(1), np.array([0.3]), bounds_ms=bounds, **KNEE)
        assert np.isfinite(found) == valid


def test_suppression_takes_what_is_at_its_limit() -> None:
    for one, limit in (("suppress_fat", 0.15), ("suppress_fluid", 0.1)):
        echo1, echo2 = np.array([1.0, limit, np.nextafter(limit, 1)]), np.zeros(3)
        assert np.isnan(qdess_t2_ms(echo1, echo2, **{one: True}, **KNEE)).tolist() == [False, True, False]


def test_what_has_no_t2() -> None:
    """Not finite, negative, nothing in echo 1, a ratio that overflows; 0 in echo 2 is a T2 of 0 ms."""
    inf, nan = np.inf, np.nan
    pairs = [(nan, 0.3), (1.0, nan), (inf, 0.3), (1.0, inf), (inf, inf), (-inf, 0.3), (-1.0, 0.3), (1.0, -0.3),
             (-1.0, -0.3), (0.0, 0.3), (0.0, 0.0), (1e-300, 1e300), (1.0, 0.9), (1.0, 0.0), (1.0, 0.3)]  # fmt: skip
    echo1, echo2 = np.array(pairs).T
    found = qdess_t2_ms(echo1, echo2, suppress_fat=False, suppress_fluid=False, **KNEE)
    assert np.isnan(found[:-2]).all()
    assert found[-2] == 0.0 and found[-1] == pytest.approx(32.29, abs=0.01)


def test_broken_voxels_do_not_decide_what_is_suppressed() -> None:
    """Of infinite maxima nothing would be left."""
    echo1, echo2 = np.array([1.0, 0.151, 0.149, 1.0, 1.0]), np.array([0.1, 0.015, 0.015, 0.72, 0.8])
    given = {**KNEE, "bounds_ms": (-math.inf, math.inf), "suppress_fat": True, "suppress_fluid": True}
    clean = qdess_t2_ms(echo1, echo2, **given)
    assert np.isnan(clean).tolist() == [False, False, True, False, True]
    for value in (np.nan, np.inf):
        for place in (0, 1):
            both = [np.append(echo1, 1.0), np.append(echo2, 0.1)]
            both[place][-1] = value
            found = qdess_t2_ms(*both, **given)
            np.testing.assert_array_equal(found, np.append(clean, np.nan))
    assert np.isnan(qdess_t2_ms(np.full(3, np.nan), np.ones(3), **given)).all()
    assert np.isnan(qdess_t2_ms(np.zeros(3, int), np.zeros(3, int), **given)).all()


@pytest.mark.parametrize("shape", [(0,), (4, 0, 3), (0, 0)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    assert qdess_t2_ms(np.zeros(shape, np.uint16), np.zeros(shape, np.uint16), **KNEE).shape == shape


def test_a_single_voxel() -> None:
    assert float(qdess_t2_ms(np.array(1.0), np.array(0.3), **KNEE)) == pytest.approx(32.29, abs=0.01)


@pytest.mark.parametrize("voxels", [1, 4, 7, 36, 10**6])
def test_parts_and_the_order_in_memory_do_not_matter(monkeypatch: pytest.MonkeyPatch, voxels: int) -> None:
    echo1, echo2 = volumes("float32")
    t1_ms = np.linspace(900, 1300, 5)
    given = {**KNEE, "suppress_fat": True, "suppress_fluid": True}
    expected = qdess_t2_ms(echo1, echo2, t1_ms=t1_ms, **given)
    monkeypatch.setattr(t2_module, "_VOXELS", voxels)
    pair = np.stack([echo1, echo2], axis=-1)
    layouts = [(np.asfortranarray(echo1), np.asfortranarray(echo2)), (pair[..., 0], pair[..., 1]),
               (np.asfortranarray(echo1), echo2), (echo1[::-1, :, ::-1][::-1, :, ::-1], echo2)]  # fmt: skip
    for layout in layouts:
        np.testing.assert_array_equal(qdess_t2_ms(*layout, t1_ms=t1_ms, **given), expected)


def test_memory_is_that_of_the_map() -> None:
    echo1 = np.random.default_rng(0).random((64, 256, 160), np.float32)
    echo2 = echo1 * np.float32(0.3)
    qdess_t2_ms(echo1[:1], echo2[:1], **KNEE)
    tracemalloc.start()
    found = qdess_t2_ms(echo1, echo2, suppress_fat=True, suppress_fluid=True, **KNEE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes <= peak < 1.25 * found.nbytes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"echo2": np.ones((2, 3))}, r"shape \(3, 2\) and \(2, 3\)"),
        ({"echo1": np.ones((3, 2), complex)}, "complex128"),
        ({"echo1": np.ones((3, 2), bool)}, "bool"),
        ({"echo2": np.full((3, 2), "a")}, "<U1"),
        ({"t1_ms": np.ones((4, 2))}, r"t1_ms of shape \(4, 2\)"),
        ({"t1_ms": np.ones((5, 3, 2))}, r"t1_ms of shape \(5, 3, 2\)"),
        ({"t1_ms": 0.0}, "t1_ms 0.0"),
        ({"t1_ms": np.array([1200.0, np.nan])}, "t1_ms nan"),
        ({"bounds_ms": (50.0, 50.0)}, "t2_bounds_ms"),
        ({"bounds_ms": (math.nan, 50.0)}, "t2_bounds_ms"),
        ({"flip_angle_deg": 0.0}, "flip_angle_deg"),
        ({"spoiler_area": 0.0}, "spoiler_area"),
        ({"spoiler_duration_us": math.nan}, "spoiler_duration_us"),
        ({"diffusivity_m2_per_s": 1.0}, "diffusivity_m2_per_s"),
    ],
)
def test_what_is_refused(change: dict[str, Any], complaint: str) -> None:
    given: dict[str, Any] = {"echo1": np.ones((3, 2)), "echo2": np.full((3, 2), 0.3), **KNEE, **change}
    with pytest.raises(InputError, match=complaint):
        qdess_t2_ms(given.pop("echo1"), given.pop("echo2"), **given)


def small_map(convention: Any, **changes: Any) -> QdessT2Map:
    """By rows: T2 of 15.80, 44.42 and 0 ms; one out of bounds (ratio 0.8), one suppressed as fat, 32.29 ms."""
    echo1 = np.array([[1000, 1000, 1000], [1000, 100, 1000]])
    echo2 = np.array([[100, 400, 0], [800, 30, 300]])
    return QdessT2Map(echo1, echo2, SEQUENCE, T2Settings(convention, **changes))


def test_values_of_a_mask() -> None:
    mask = np.array([[True, True, True], [True, True, False]])
    found = small_map("skm_tea").values_ms(mask, 1200.0)
    np.testing.assert_allclose(found, [15.80, 44.42, 0.0, np.nan, np.nan], atol=0.01)
    assert found.dtype == np.float64
    np.testing.assert_allclose(small_map("skm_tea").values_ms(mask, 1000.0)[1], 45.90, atol=0.01)
    np.testing.assert_array_equal(small_map("skm_tea").whole_ms()[mask], found)
    for wrong in (mask.astype(np.uint8), mask[:1], mask.T):
        with pytest.raises(InputError, match="mask: got"):
            small_map("skm_tea").values_ms(wrong, 1200.0)


def test_both_conventions_by_hand() -> None:
    """Two voxels with a T2, one of 0 ms and two invalid ones."""
    mask = np.array([[True, True, True], [True, True, False]])
    ours, theirs = (small_map(name).mean_ms(mask, 1200.0) for name in ("skm_tea", "original_code"))
    assert ours.mean_ms == pytest.approx((15.80 + 44.42) / 2, abs=0.01)
    assert theirs.mean_ms == pytest.approx((15.80 + 44.42 + 0 + 0 + 0) / 5, abs=0.01)
    assert (ours.voxels, ours.invalid) == (theirs.voxels, theirs.invalid) == (5, 3)


@pytest.mark.parametrize("convention", ["skm_tea", "original_code"])
def test_means_of_nothing(convention: Any) -> None:
    """0 ms comes with all voxels invalid, so that the caller can flag it."""
    t2, empty = small_map(convention), np.zeros((2, 3), bool)
    assert math.isnan(t2.mean_ms(empty, 1200.0).mean_ms) and t2.mean_ms(empty, 1200.0)[1:] == (0, 0)
    invalid = empty.copy()
    invalid[1, :2] = True
    found = t2.mean_ms(invalid, 1200.0)
    assert found[1:] == (2, 2)
    assert math.isnan(found.mean_ms) if convention == "skm_tea" else found.mean_ms == 0.0
    invalid[:] = False
    invalid[0, 2] = True  # nothing in echo 2
    assert t2.mean_ms(invalid, 1200.0)[1:] == (1, 1)


def test_a_labelled_map_takes_the_t1_of_each_class() -> None:
    t2 = small_map("skm_tea", t1_ms={"other": 1000.0})
    left, right = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    left[0, :2], right[0, 1], right[1, 1:] = True, True, True
    found = t2.labelled_ms({"cartilage": left, "other": right}.items())
    expected = [[15.80, 45.90, np.nan], [np.nan, np.nan, 33.06]]  # the later class counts where both are
    np.testing.assert_allclose(found, expected, atol=0.01)
    found = t2.labelled_ms([("other", right), ("cartilage", left)], outside_t1_ms=1200.0)
    np.testing.assert_allclose(found, [[15.80, 44.42, 0.0], [np.nan, np.nan, 33.06]], atol=0.01)
    found = t2.labelled_ms([("other", right)], outside_t1_ms=1200.0)
    np.testing.assert_allclose(found, [[15.80, 45.90, 0.0], [np.nan, np.nan, 33.06]], atol=0.01)
    assert found.dtype == np.float64
    with pytest.raises(InputError, match="mask: got"):
        t2.labelled_ms([("other", right[:1])])


def test_a_view_keeps_what_the_whole_scan_suppresses() -> None:
    """The second row alone would have another maximum once its brightest voxel is gone."""
    t2 = small_map("skm_tea")
    part = t2.view(lambda echo: echo[1:, 1:2])
    assert part.shape == (1, 1) and np.isnan(part.whole_ms()).all()
    alone = QdessT2Map(np.array([[100]]), np.array([[30]]), SEQUENCE, T2Settings())
    np.testing.assert_allclose(alone.whole_ms(), [[32.29]], atol=0.01)
    turned = t2.view(lambda echo: echo[::-1].T).whole_ms()
    np.testing.assert_array_equal(turned, t2.whole_ms()[::-1].T)
