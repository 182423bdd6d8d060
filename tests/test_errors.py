"""The error that is shown to users: one line, whatever went into it."""

import pickle

from inpaint_ssl.errors import InputError, one_line


def test_messages_are_one_line_that_can_be_shown() -> None:
    assert str(InputError("a\nb\tc\x1b[31m\u202e\ud800 é\u00a0x")) == r"a\nb\tc\x1b[31m\u202e\ud800 é" + "\u00a0x"
    assert one_line("Ödem, 50 % von 3/4") == "Ödem, 50 % von 3/4"


def test_long_messages_keep_beginning_and_remedy() -> None:
    text = str(InputError("file.json: " + "x" * 10_000 + "; mend it"))
    assert len(text) < 2100 and text.startswith("file.json: x") and text.endswith("x; mend it")
    assert str(InputError("y" * 2000)) == "y" * 2000


def test_the_kind_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(InputError("a\nb", "geometry")))
    assert (str(error), error.kind) == (r"a\nb", "geometry")
