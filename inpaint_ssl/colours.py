"""The colours of classes, the same in pictures, pages, bundles and DICOM segmentations."""

# None is that of an arm of a study (report/drawing); the first four differ for every common kind of colour blindness.
CLASS_COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#c1272d", "#7b5cd6", "#a6761d", "#7df0c8", "#f7b6d2",
)  # fmt: skip


def colour_of(index: int) -> str:
    """Of the class of this index, which counts from 0; they begin again after the last."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]
