"""Conventions of T2 as one setting: T1 of each class, what becomes of invalid voxels, what is refused."""

from typing import Any

import pytest

from configs import base
from inpaint_ssl.errors import InputError
from inpaint_ssl.metrics import T2Settings

CLASSES = ("patellar_cartilage", "Medial Meniscus", "bone=marrow")


def clinical(**changes: Any) -> dict[str, Any]:
    return base.get_config().clinical.to_dict() | changes


def test_conventions_set_t1() -> None:
    ours = T2Settings.from_config(clinical(), CLASSES)
    assert [ours.t1_of(name) for name in CLASSES] == [1200.0, 1000.0, 1200.0]
    assert (ours.convention, ours.invalid, ours.bounds_ms) == ("skm_tea", "excluded", (0.0, 100.0))
    theirs = T2Settings.from_config(clinical(t2_convention="original_code"), CLASSES)
    assert [theirs.t1_of(name) for name in CLASSES] == [1200.0] * 3 and theirs.invalid == "counted as 0"
    assert T2Settings().t1_of("lateral meniscus") == T2Settings().t1_of("MENISCI") == 1000.0
    assert T2Settings().t1_of("tibial_cartilage") == 1200.0
    chosen = T2Settings.from_config(clinical(t1_ms=("Medial Meniscus=850", "bone=marrow = 365.5")), CLASSES)
    assert [chosen.t1_of(name) for name in CLASSES] == [1200.0, 850.0, 365.5]


def test_settings_as_the_study_keeps_them() -> None:
    changes = {"t2_convention": "original_code", "t2_bounds_ms": (1, 80), "t2_suppress_fat": False}
    settings = T2Settings.from_config(clinical(**changes, t1_ms=("bone=marrow=365",)), CLASSES)
    assert settings.to_dict() == {
        "convention": "original_code",
        "t1_ms": {"patellar_cartilage": 1200.0, "Medial Meniscus": 1200.0, "bone=marrow": 365.0},
        "bounds_ms": [1.0, 80.0],
        "suppress_fat": False,
        "suppress_fluid": True,
        "invalid": "counted as 0",
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"t1_ms": ("menisci=1000",)}, "no class 'menisci' .of 'menisci=1000'.; use one of: patellar_cartilage, Med"),
        ({"t1_ms": ("patellar_cartilage=0",)}, "'patellar_cartilage=0', expected class=milliseconds"),
        ({"t1_ms": ("patellar_cartilage=-3",)}, "expected class=milliseconds"),
        ({"t1_ms": ("patellar_cartilage=long",)}, "expected class=milliseconds"),
        ({"t1_ms": ("patellar_cartilage=inf",)}, "expected class=milliseconds"),
        ({"t1_ms": ("patellar_cartilage",)}, "expected class=milliseconds"),
        ({"t1_ms": ("1200",)}, "expected class=milliseconds"),
        ({"t1_ms": ("patellar_cartilage=1", "patellar_cartilage=2")}, "twice"),
        ({"t2_convention": "dosma"}, "'dosma', expected one of skm_tea, original_code"),
        ({"t2_bounds_ms": (100.0, 0.0)}, "t2_bounds_ms"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        T2Settings.from_config(clinical(**changes), CLASSES)
    with pytest.raises(InputError, match="got -1 for 'a'"):
        T2Settings(t1_ms={"a": -1})
