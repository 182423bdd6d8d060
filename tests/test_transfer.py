"""Grafting: named parts only, strictly, nothing shared with the pretrained arrays."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from inpaint_ssl.models import UNet
from inpaint_ssl.transfer import graft


def params_of(seed: int, *, head="segmentation", out=3, channels=1, filters=(16, 32)):
    model = UNet(filters=filters, out_channels=out, head=head)
    return model.init(jax.random.key(seed), jnp.zeros((1, 8, 8, channels)))["params"]


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_encoder_only_by_default() -> None:
    pretrained, fresh = params_of(0, head="inpainting", out=1), params_of(1)
    params, report = graft(pretrained, fresh)
    assert equal(params["encoder"], pretrained["encoder"])
    assert equal(params["decoder"], fresh["decoder"])
    assert equal(params["post_processing"], fresh["post_processing"])
    assert not equal(pretrained["encoder"], fresh["encoder"])
    assert report.count("loaded") == len(jax.tree.leaves(fresh["encoder"]))
    assert report.count("fresh") == len(jax.tree.leaves(fresh)) - report.count("loaded")
    assert {row.name.split("/")[0] for row in report.rows if row.status == "loaded"} == {"encoder"}


def test_encoder_and_decoder() -> None:
    pretrained, fresh = params_of(0, head="inpainting", out=1), params_of(1)
    params, _ = graft(pretrained, fresh, parts=("encoder", "decoder"))
    assert equal(params["decoder"], pretrained["decoder"])
    assert equal(params["post_processing"], fresh["post_processing"])


def test_donating_the_result_leaves_the_pretrained_weights() -> None:
    pretrained, fresh = params_of(0), params_of(1)
    params, _ = graft(pretrained, fresh)
    jax.tree.map(lambda leaf: leaf.delete(), params["encoder"])
    assert np.isfinite(np.asarray(pretrained["encoder"]["level_0"]["conv_0"]["kernel"])).all()


@pytest.mark.parametrize(
    ("pretrained", "parts", "message"),
    [
        ({"filters": (16, 48)}, ("encoder",), r"encoder/level_1/conv_0/kernel has shape \(3, 3, 16, 48\)"),
        ({"filters": (16, 32, 64)}, ("encoder",), "level_2/conv_0/bias is only in the pretrained"),
        ({"filters": (16,)}, ("encoder",), "level_1/conv_0/bias is missing in the pretrained"),
        ({"channels": 3}, ("encoder",), r"\(3, 3, 3, 16\), expected \(3, 3, 1, 16\) \(or adapt_input"),
        ({"head": "inpainting"}, ("post_processing",), "post_processing/kernel has shape"),
        ({}, ("encodr",), "encodr"),
        ({}, (), "parts to transfer"),
    ],
)
def test_what_does_not_fit_is_an_error(pretrained, parts, message) -> None:
    with pytest.raises(ValueError, match=message):
        graft(params_of(0, **pretrained), params_of(1), parts)


def test_dtype_must_match() -> None:
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params_of(0))
    with pytest.raises(ValueError, match="bfloat16, expected float32"):
        graft(low, params_of(1))


def test_averaged_input_gives_the_same_response_to_a_grey_image() -> None:
    pretrained, fresh = params_of(0, channels=3), params_of(1, channels=1)
    params, report = graft(pretrained, fresh, adapt_input="average")
    assert [row.name for row in report.rows if row.status == "adapted"] == ["encoder/level_0/conv_0/kernel"]
    old = np.asarray(pretrained["encoder"]["level_0"]["conv_0"]["kernel"])
    new = params["encoder"]["level_0"]["conv_0"]["kernel"][:, :, 0]
    np.testing.assert_allclose(new, old.sum(2), rtol=1e-5, atol=1e-7)  # sums that nearly cancel round by themselves


def test_table_shows_both_sides() -> None:
    _, report = graft(params_of(0, head="inpainting", out=1), params_of(1))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "encoder/level_0/conv_0/kernel" in text and "loaded" in text and "3x3x1x16" in text
    assert "not in parts" in text
