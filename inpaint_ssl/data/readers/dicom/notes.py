"""What the user is told of a folder of DICOM files that needs no correction."""

from collections import Counter
from collections.abc import Callable, Sequence

from inpaint_ssl.data.readers.dicom.files import Found, Series

_NAMES_SHOWN = 3


def notes_of(found: Found, series: Sequence[Series], shown: Callable[[str], str]) -> list[str]:
    """Notes on what was skipped, and on how values and subjects were taken.

    shown: what may be written of a path.
    """
    notes = [
        f"skipped {count} file{'s' * (count > 1)} of series {number or '(no number)'} in {shown(folder)}: {reason}"
        for (reason, folder, number), count in sorted(found.skipped.items())
    ]
    if found.others:
        names = ", ".join(map(shown, found.others[:_NAMES_SHOWN]))
        more = ", ..." if len(found.others) > _NAMES_SHOWN else ""
        notes.append(f"{len(found.others)} files are no DICOM files and not used: {names}{more}")
    return notes + _on_values(series) + _on_subjects(series)


def _on_values(series: Sequence[Series]) -> list[str]:
    counts = Counter((one.about.modality, one.about.photometric) for one in series)
    padded = Counter(one.about.modality for one in series if one.about.has_padding)
    texts = {
        "MONOCHROME1 MR series were turned round: smallest + largest storable value - stored value": counts[
            "MR", "MONOCHROME1"
        ],
        "CT series are MONOCHROME1, which concerns display alone: their HU were left as they are": counts[
            "CT", "MONOCHROME1"
        ],
        "CT series name a padding value, which became air (-1024 HU)": padded["CT"],
        "MR series name a padding value; padding became the smallest value of the scan": padded["MR"],
    }
    return [f"{count} {what}" for what, count in texts.items() if count]


def _on_subjects(series: Sequence[Series]) -> list[str]:
    nameless = sum(not one.about.patient for one in series)
    notes = []
    if nameless:
        notes.append(
            f"{nameless} series name no patient: series of one study, else of one folder, count as one subject; check "
            "that no patient is two subjects"
        )
    if len(series) > 1 and not nameless and len({one.about.patient for one in series}) == 1:
        notes.append(f"all {len(series)} series name the same patient, so the data set has one subject")
    return notes
