"""Windows and z-scores against direct computations."""

import numpy as np
import pytest

from inpaint_ssl.data.intensity import root_sum_of_squares, window_z_score, z_score_volume


def test_z_score_by_hand() -> None:
    image = np.array([1.0, 3.0, 5.0, 7.0], np.float32).reshape(4, 1, 1, 1)  # mean 4, variance 5
    assert z_score_volume(image).ravel() == pytest.approx(np.array([-3, -1, 1, 3]) / np.sqrt(5))


def test_channels_are_scored_apart_and_scale_does_not_matter() -> None:
    image = np.random.default_rng(0).gamma(2, 1, (6, 7, 5, 1)).astype(np.float32)
    both = z_score_volume(np.concatenate([image, 32 * image + 4096], axis=3))
    assert both[..., 0] == pytest.approx(both[..., 1], abs=2e-3)
    assert both.dtype == np.float32
    assert both.mean(axis=(0, 1, 2), dtype=float) == pytest.approx([0, 0], abs=1e-6)
    assert both.std(axis=(0, 1, 2), dtype=float) == pytest.approx([1, 1], abs=1e-6)


def test_statistics_are_double_precision() -> None:
    image = np.full((200, 200, 50, 1), 1e6, np.float32)
    image[::2] += 1  # float32 sums of two million such values lose the difference
    assert np.unique(z_score_volume(image)).tolist() == [-1, 1]


@pytest.mark.parametrize("value", [0.0, 0.1, 7.3])
def test_a_channel_of_one_value_is_refused(value: float) -> None:
    image = np.stack([np.arange(27.0).reshape(3, 3, 3), np.full((3, 3, 3), value)], axis=3).astype(np.float32)
    with pytest.raises(ValueError, match="channel 1 "):
        z_score_volume(image)


def test_root_sum_of_squares_by_hand() -> None:
    image = np.array([[[[3.0, 4.0]]], [[[-5.0, 12.0]]]], np.float32)
    assert root_sum_of_squares(image).tolist() == [[[[5.0]]], [[[13.0]]]]
    single = np.array([[[[-2.0]]]], np.float32)
    assert root_sum_of_squares(single).tolist() == single.tolist()


def test_windows_clip_and_score_each_slice_and_channel() -> None:
    slices = np.array([[[-1000, -100, 100, 3000]], [[-50, 0, 50, 250]]], np.float32)
    scored, margin = window_z_score(slices, ((400.0, 50.0), (1800.0, 40.0)))
    soft = np.array([[-150, -100, 100, 250], [-50, 0, 50, 250]], float)  # 50 +- 200
    bone = np.array([[-860, -100, 100, 940], [-50, 0, 50, 250]], float)  # 40 +- 900
    for channel, values in enumerate((soft, bone)):
        mean, deviation = values.mean(axis=1), values.std(axis=1)
        assert scored[:, 0, :, channel] == pytest.approx((values - mean[:, None]) / deviation[:, None], abs=1e-6)
        low = (-150, -860)[channel]
        assert margin[:, channel] == pytest.approx((low - mean) / deviation, abs=1e-6)  # -1024 HU is below both


def test_a_slice_constant_in_its_window_becomes_zeros() -> None:
    slices = np.array([[[-1024, -900, -800]], [[900, 2000, 3071]]], np.float32)
    scored, margin = window_z_score(slices, ((400.0, 50.0), (1800.0, 40.0)))
    assert not scored[:, :, :, 0].any()
    assert not margin[:, 0].any()
    assert scored[0, :, :, 1].any()
