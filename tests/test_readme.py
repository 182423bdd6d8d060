"""The Python of the README runs as it stands, one block after another."""

import re
from pathlib import Path

import numpy as np


def test_the_snippets_run() -> None:
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    corruptors, weights = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    # An image of zeros would hide what the corruptors do.
    shown, real = "jnp.zeros((8, 64, 64, 1))", "jnp.arange(1.0, 1 + 8 * 64 * 64).reshape(8, 64, 64, 1)"
    assert corruptors.count(shown) == 1
    names: dict = {}
    exec(compile(corruptors.replace(shown, real), "README.md", "exec"), names)
    images = np.asarray(names["images"])
    for swapped in (names["swapped"], names["from_bank"]):
        assert np.array_equal(np.sort(swapped, axis=None), np.sort(images, axis=None))
        assert all((swapped[i] != images[i]).mean() >= 0.25 for i in range(8))
    zeroed = np.asarray(names["zeroed"])[..., 0] == 0
    assert zeroed.mean() == 0.25
    expected = np.zeros((64, 64), bool)
    for row, column in np.asarray(names["patches"].corners):
        expected[row : row + 8, column : column + 8] = True
    assert np.array_equal(zeroed, expected)

    exec(compile(weights, "README.md", "exec"), names)
    loaded = names["params"]["encoder"]["level_0"]["conv_1"]["kernel"]
    np.testing.assert_array_equal(loaded, names["pretrained"]["encoder"]["level_0"]["conv_1"]["kernel"])
