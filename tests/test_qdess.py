import math

import numpy as np
import pytest

from inpaint_ssl.errors import InputError
from inpaint_ssl.qdess import QdessSequence, dephasing_rad_per_m, echo1_signal, echo_ratio, t2_ms_from_ratio

SKM_TEA = {"tr_ms": 25.0, "te_ms": 8.0, "flip_angle_deg": 30.0, "spoiler_area": 3132.0, "spoiler_duration_us": 1560.0}
SEQUENCE = QdessSequence(**SKM_TEA)


def test_check_values():
    """Numbers of the reference page, computed elsewhere."""
    assert dephasing_rad_per_m(3132.0, 1560.0) == pytest.approx(8379.29, abs=0.01)
    t2 = t2_ms_from_ratio([0.1, 0.2, 0.3, 0.4, 0.5], SEQUENCE)
    np.testing.assert_allclose(t2, [15.80, 23.31, 32.29, 44.42, 62.70], atol=0.01)
    np.testing.assert_allclose(t2_ms_from_ratio([0.2, 0.3, 0.4], SEQUENCE, 1000.0), [23.71, 33.06, 45.90], atol=0.01)
    assert t2.dtype == np.float64


@pytest.mark.parametrize("t1_ms", [400.0, 1200.0, 3500.0])
def test_round_trip(t1_ms):
    other = QdessSequence(18.2, 5.9, 20.0, 1560.0, 3400.0, 0.9e-9)
    t2 = np.array([[3.0, 12.5, 30.0], [45.0, 100.0, 900.0]])
    for sequence in (SEQUENCE, other):
        np.testing.assert_allclose(t2_ms_from_ratio(echo_ratio(t2, sequence, t1_ms), sequence, t1_ms), t2, rtol=1e-9)


def test_no_diffusion_closed_form():
    """D = 0 and a = 90 degrees: k = (1 + E1)/2 and c = 0, so the ratio is (1 + E1)/2 exp(-2 (TR - TE)/T2)."""
    sequence = QdessSequence(20.0, 5.0, 90.0, 3132.0, 1560.0, 0.0)
    expected = (1.0 + math.exp(-20.0 / 1000.0)) / 2.0 * math.exp(-30.0 / 40.0)
    assert float(echo_ratio(40.0, sequence, 1000.0)) == pytest.approx(expected, rel=1e-12)


def test_ratios_without_a_t2():
    """What a validity rule must catch: zero ratio, negative ratio, no signal, a ratio above the limit of long T2."""
    limit = float(echo_ratio(1e12, SEQUENCE))
    t2 = t2_ms_from_ratio([0.0, -0.1, np.nan, 1.01 * limit], SEQUENCE)
    assert t2[0] == 0.0 and np.isnan(t2[1]) and np.isnan(t2[2]) and t2[3] < 0.0


def _fisp_by_simulation(t2_ms: float, t1_ms: float, sequence: QdessSequence) -> float:
    """Mean over all dephasing angles of the steady state right after the pulse, by solving the Bloch recursion."""
    e1, e2 = math.exp(-sequence.tr_ms / t1_ms), math.exp(-sequence.tr_ms / t2_ms)
    a = math.radians(sequence.flip_angle_deg)
    pulse = np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
    total = 0j
    angles = np.arange(720) * 2 * np.pi / 720
    for b in angles:
        turn = np.array([[e2 * math.cos(b), e2 * math.sin(b), 0], [-e2 * math.sin(b), e2 * math.cos(b), 0], [0, 0, e1]])
        m = np.linalg.solve(np.eye(3) - pulse @ turn, pulse @ np.array([0, 0, 1 - e1]))
        total += complex(m[0], m[1])
    return abs(total) / len(angles) * math.exp(-sequence.te_ms / t2_ms)


@pytest.mark.parametrize(("t2_ms", "t1_ms"), [(37.0, 1200.0), (15.0, 1000.0), (60.0, 365.0), (300.0, 3500.0)])
def test_echo1_is_the_bloch_steady_state(t2_ms, t1_ms):
    expected = _fisp_by_simulation(t2_ms, t1_ms, SEQUENCE)
    assert float(echo1_signal(t2_ms, t1_ms, SEQUENCE)) == pytest.approx(expected, rel=1e-6)


def test_echo1_falls_with_t1():
    assert np.all(np.diff(echo1_signal(40.0, np.linspace(300.0, 4000.0, 50), SEQUENCE)) < 0.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"flip_angle_deg": 0.0}, "flip_angle_deg"),
        ({"flip_angle_deg": 360.0}, "flip_angle_deg"),
        ({"flip_angle_deg": math.nan}, "flip_angle_deg"),
        ({"spoiler_area": 0.0}, "spoiler_area"),
        ({"spoiler_duration_us": math.nan}, "spoiler_duration_us"),
        ({"te_ms": 30.0}, "te_ms"),
        ({"tr_ms": math.nan}, "tr_ms"),
        ({"diffusivity_m2_per_s": 1.25e-3}, "diffusivity_m2_per_s"),
    ],
)
def test_bad_sequence(change, word):
    with pytest.raises(ValueError, match=word):
        QdessSequence(**(SKM_TEA | change))


def test_acquisition_mapping():
    assert QdessSequence.from_acquisition(SEQUENCE.as_acquisition() | {"field_t": 3.0}) == SEQUENCE
    for key in SKM_TEA:
        with pytest.raises(InputError, match=key):
            QdessSequence.from_acquisition({k: v for k, v in SKM_TEA.items() if k != key})


def test_bad_times():
    with pytest.raises(ValueError, match="t2_ms"):
        echo_ratio([30.0, 0.0], SEQUENCE)
    with pytest.raises(ValueError, match="t1_ms"):
        t2_ms_from_ratio(0.3, SEQUENCE, 0.0)
