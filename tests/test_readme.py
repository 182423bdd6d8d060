"""The Python of the README runs as it stands."""

import re
from pathlib import Path

import numpy as np


def test_the_snippet_runs() -> None:
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(snippet, "README.md", "exec"), names)
    loaded = names["params"]["encoder"]["level_0"]["conv_1"]["kernel"]
    np.testing.assert_array_equal(loaded, names["pretrained"]["encoder"]["level_0"]["conv_1"]["kernel"])
    assert names["corrupted"].shape == names["images"].shape
