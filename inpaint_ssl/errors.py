"""The one exception that the command line turns into a single line and exit code 2."""

import unicodedata

_LONGEST = 2000  # characters; what comes out of damaged files can be longer than anyone wants to read


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a setting.

    The message says what was got, what was expected, which file or key, and what to do, in one line. kind sorts the
    errors of scans for the doctor: "unreadable", "geometry", "labels", "intensities", "listing"; "" for all others.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        text = one_line(message)
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}")
        self.kind = kind


def one_line(text: str) -> str:
    """The text with escapes for line ends and whatever else a terminal cannot show or would obey."""
    if text.isprintable():
        return text
    return "".join(letter if _can_be_shown(letter) else ascii(letter)[1:-1] for letter in text)


def _can_be_shown(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


class Problems:
    """What is wrong with single scans of a data set while it is listed: raised at once, or collected and left out."""

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        self.found: list[InputError] = []

    def add(self, error: InputError) -> None:
        """Raise `error`, or keep it; the caller then leaves the scan out."""
        if not self.collect:
            raise error
        self.found.append(error)
