"""Names of classes as SNOMED CT codes, by the anatomy that DICOM's own lists have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

# Context groups by category; the first group that has a name decides.
_GROUPS = (
    (codes.SCT.Tissue, (7191, 7166)),
    (codes.SCT.MorphologicallyAbnormalStructure, (7194, 7159)),
    (codes.SCT.AnatomicalStructure, (7192, 4031, 8134)),
)
_OTHER_WORDS = {
    "fat": "adiposetissue", "oesophagus": "esophagus", "tumor": "neoplasm", "tumour": "neoplasm",
    "urinarybladder": "bladder", "postcava": "inferiorvenacava",
}  # fmt: skip
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}


@dataclass(frozen=True)
class SegmentCode:
    """category and kind of a segment, and its side (left, right) where the name says one."""

    category: Code
    kind: Code
    side: Code | None


def segment_code(name: str) -> SegmentCode:
    """The code of a class by its name in any spelling: "right_parotid", "brainstem", "Psoas muscle".

    A name that DICOM's lists do not have, whole or but for the side, is an anatomical structure of no further kind (its
    label still says the name); one that ends in the name of a tissue or lesion is that.
    """
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    sides = [word for word in words if word in _SIDES]
    rest = [word for word in words if word not in _SIDES]
    side = _SIDES[sides[0]] if len(sides) == 1 else None
    for words_tried, of_side in ((words, None), (rest, side)):
        if found := _found(words_tried):
            return SegmentCode(*found, of_side)
    found = _found(rest[-1:])
    if found and found[0] != codes.SCT.AnatomicalStructure:
        return SegmentCode(*found, side)
    return SegmentCode(codes.SCT.AnatomicalStructure, codes.SCT.AnatomicalStructure, side)


def _found(words: list[str]) -> tuple[Code, Code] | None:
    """Category and kind of a name."""
    for spelling in _spellings(words):
        for category, groups in _GROUPS:
            if spelling in _table(groups):
                return category, _table(groups)[spelling]
    return None


def _spellings(words: list[str]) -> Iterator[str]:
    joined = "".join(words)
    if joined:
        yield from (_OTHER_WORDS.get(joined, joined), f"{joined}gland", joined.removesuffix("s"))


@cache
def _table(groups: tuple[int, ...]) -> dict[str, Code]:
    """Concepts of SNOMED CT by their names in lower case."""
    found: dict[str, Code] = {}
    for group in groups:
        concepts = getattr(codes, f"cid{group}")
        for name in concepts.dir():
            try:
                code = getattr(concepts, name)
            except RuntimeError:  # several schemes have a concept of this name
                continue
            if code.scheme_designator == "SCT":
                found.setdefault(name.lower(), code)
    return found
