"""Codes of classes, compared with SNOMED CT's numbers as DICOM's part 16 prints them."""

import pytest

from inpaint_ssl.predict.segment_codes import segment_code

STRUCTURE, TISSUE, LESION = "91723000", "85756007", "49755003"


@pytest.mark.parametrize(
    ("name", "category", "kind", "side"),
    [
        ("liver", STRUCTURE, "10200004", None),
        ("Spinal cord", STRUCTURE, "2748008", None),
        ("brainstem", STRUCTURE, "119238007", None),
        ("right_parotid", STRUCTURE, "45289007", "24028007"),
        ("ParotidGlandLeft", STRUCTURE, "45289007", "7771000"),
        ("left_atrium", STRUCTURE, "82471001", None),  # the concept has the side in it
        ("kidneys", STRUCTURE, "64033007", None),
        ("oesophagus", STRUCTURE, "32849002", None),
        ("femoral_cartilage", TISSUE, "309312004", None),
        ("visceral_fat", TISSUE, "55603005", None),
        ("liver_tumor", LESION, "108369006", None),
        ("anterior", STRUCTURE, STRUCTURE, None),  # a place, no structure: what its label says
        ("rod_head", STRUCTURE, STRUCTURE, None),  # not the head
        ("left", STRUCTURE, STRUCTURE, "7771000"),
        ("left right", STRUCTURE, STRUCTURE, None),
        ("dir", STRUCTURE, STRUCTURE, None),
        ("=HYPERLINK(0)", STRUCTURE, STRUCTURE, None),
        ("肝臓", STRUCTURE, STRUCTURE, None),
        ("", STRUCTURE, STRUCTURE, None),
    ],
)
def test_code_of(name: str, category: str, kind: str, side: str | None) -> None:
    code = segment_code(name)
    assert (code.category.value, code.kind.value, code.side and code.side.value) == (category, kind, side)
    assert {c.scheme_designator for c in (code.category, code.kind, code.side) if c} == {"SCT"}
