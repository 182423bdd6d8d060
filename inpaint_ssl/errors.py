"""The one exception that the command line turns into a single line and exit code 2."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a setting.

    The message says what was got, what was expected, which file or key, and what to do, in one line.
    """
