"""The one exception that the command line turns into a single line and exit code 2."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a setting.

    The message says what was got, what was expected, which file or key, and what to do, in one line. kind sorts the
    errors of scans for the doctor: "unreadable", "geometry", "labels", "intensities", "listing"; "" for all others.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


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
