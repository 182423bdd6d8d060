"""Files appear whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import (
    read_csv,
    read_json,
    sha256_of,
    write_csv_atomic,
    write_json_atomic,
    write_npz_atomic,
    write_text_atomic,
)


def test_round_trips(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "new" / "a.json", {"b": [1, 2.5], "ü": "x"})
    assert read_json(tmp_path / "new" / "a.json", "test") == {"b": [1, 2.5], "ü": "x"}
    write_csv_atomic(tmp_path / "a.csv", ("x", "y"), [{"y": "1,2", "x": 'q"'}])
    assert read_csv(tmp_path / "a.csv") == [{"x": 'q"', "y": "1,2"}]
    write_npz_atomic(tmp_path / "a.npz", image=np.arange(3), name=np.array("scan"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        assert content["image"].tolist() == [0, 1, 2] and str(content["name"]) == "scan"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_text_atomic(path, "before")
    with pytest.raises(ValueError, match="z"):
        write_csv_atomic(path, ("x",), [{"x": 1, "z": 2}])
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz_atomic(path, bad=np.array([{}]))
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b'["\\ud800"]', b"[" + b"9" * 5000 + b"]", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is not valid JSON.*expected: splits"):
        read_json(path, "splits")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json", "splits")


def test_json_may_hold_characters_of_two_halves(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["\\ud83d\\ude00"]')
    assert read_json(tmp_path / "a.json", "test") == ["\U0001f600"]


@pytest.mark.parametrize("place", ["/dev/zero", "."])
def test_what_is_no_file_is_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.json").symlink_to(place)
    with pytest.raises(InputError, match=r"a\.json is no file \(expected: splits\)"):
        read_json(tmp_path / "a.json", "splits")


def test_sha256_ignores_the_order_of_keys() -> None:
    assert sha256_of({"a": 1, "b": [2]}) == sha256_of({"b": [2], "a": 1}) != sha256_of({"a": 1, "b": [3]})
