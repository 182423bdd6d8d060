"""No patient is named: ids are salted hashes, and paths are shown without what identifies anybody."""

import os
import pickle
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_sets import CT, MR, SLICES, UID_ROOT, image, open_at, positions, save, volume, write_series
from nifti_sets import message
from nifti_sets import save as save_nifti
from pydicom.uid import UID

from inpaint_ssl.data.readers.dicom import ids as dicom_ids
from inpaint_ssl.data.readers.dicom.ids import IdHasher, ShownPaths, identity_terms, load_salt
from inpaint_ssl.data.readers.dicom.reader import DicomDataset
from inpaint_ssl.errors import InputError, Problems

SECRETS = re.compile(
    rf"miller|anna|maria|müller|qx.?4711|1961.?02.?03|acc998877|{re.escape(UID_ROOT)}|\b1\.2\.3\.4", re.IGNORECASE
)
SERIES_UID = f"{UID_ROOT}.1.1"


def make_clinic(root: Path) -> None:
    """Folders and files named by patients, ids and UIDs; a good series, bad ones, labels, and what is skipped."""
    one, two = root / "Miller_Anna" / "QX4711", root / "MÜLLER, Maria (1961-02-03)"
    write_series(one / SERIES_UID, volume(0), name=f"CT.{UID_ROOT}.2.{{}}")
    label = np.ones((5, 6, SLICES), np.uint8)
    affine = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])
    save_nifti(one / f"{SERIES_UID}_seg.nii.gz", label, affine)
    born = {"PatientName": "Müller^Maria", "PatientID": ""}
    write_series(two, volume(1), **born, SeriesInstanceUID="1.2.3.4.5", SeriesDescription="Anna Miller thin")
    uneven = positions(4)
    uneven[3, 2] += 1
    write_series(one / "bad", volume(2), SeriesInstanceUID="1.2.3.4.6", places=uneven, name="anna{}.dcm")
    (one / "bad" / "Miller_broken.dcm").write_bytes(bytes(200))
    (root / "miller_alone").mkdir()
    (root / "miller_alone" / "anna.dcm").write_bytes(bytes(200))
    (one / "anna_report.txt").write_text("text")
    (root / "qx-4711.txt").write_text("text")
    save(image(volume(3)[0], UID("1.2.840.10008.5.1.4.1.1.7")), one / "pictures" / "QX-4711.dcm")
    write_series(one / "mr", volume(4), MR, SeriesInstanceUID="1.2.3.4.7")
    save_nifti(one / "miller_extra.nii.gz", label, affine)
    save_nifti(root / "labels" / "miller.nii.gz", label, affine)


def everything_said(dataset: DicomDataset, problems: Problems) -> str:
    """All that may be written of a data set, read errors included; the paths of entries are only for opening."""
    parts: list[Any] = [dataset.name, dataset.channel_names, dataset.notes, dataset.settings(), repr(dataset)]
    for entry in dataset.entries:
        parts += [replace(entry, image_paths=(), label_path=""), *map(dataset.shown_path, dataset.sources(entry))]
        parts += [dataset.read(entry).acquisition]
        Path(entry.image_paths[1]).write_bytes(b"")
        with pytest.raises(InputError) as caught:
            dataset.read(entry)
        parts.append(caught.value)
    parts += problems.found
    return "\n".join(map(str, parts))


def test_nothing_that_is_said_names_anybody(tmp_path: Path) -> None:
    make_clinic(tmp_path / "clinic")
    problems = Problems(collect=True)
    dataset = open_at(tmp_path / "clinic", problems, labels=("liver=1",))
    text = everything_said(dataset, problems)
    assert len(dataset) == 2
    assert {error.kind for error in problems.found} == {"unreadable", "geometry", "labels"}
    assert len(problems.found) == 4
    assert SECRETS.findall(text) == []
    assert str(tmp_path) not in text
    assert "(data.hash_ids=False shows the names)" in text
    assert load_salt(str(tmp_path / "salt")).decode() not in text
    for entry in dataset.entries:
        assert re.fullmatch(r"scan-[0-9a-f]{12}", entry.scan_id)
        assert re.fullmatch(r"subject-[0-9a-f]{12}", entry.subject_id)


def test_the_check_finds_names_when_they_are_wanted(tmp_path: Path) -> None:
    make_clinic(tmp_path / "clinic")
    problems = Problems(collect=True)
    dataset = open_at(tmp_path / "clinic", problems, labels=("liver=1",), hash_ids=False)
    text = everything_said(dataset, problems)
    assert {word.lower() for word in SECRETS.findall(text)} >= {"miller", "anna", "qx-4711", "müller", UID_ROOT}
    assert [entry.scan_id for entry in dataset.entries] == ["Müller_Maria_3_Anna_Miller_thin", "QX-4711_3"]
    assert [entry.subject_id for entry in dataset.entries] == ["Müller_Maria", "QX-4711"]
    assert dataset.settings()["ids"] == "plain"


def test_a_folder_named_by_its_patient_gives_no_name_to_the_data_set(tmp_path: Path) -> None:
    write_series(tmp_path / "Anna Miller", volume(0))
    dataset = open_at(tmp_path / "Anna Miller")
    assert re.fullmatch(r"hash-[0-9a-f]{12}", dataset.name)
    write_series(tmp_path / "knees", volume(0))
    assert open_at(tmp_path / "knees").name == "knees"


def test_ids_stay_and_depend_on_the_salt(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_series(root, volume(0))
    first, again = open_at(root), open_at(root)
    assert first.entries == again.entries
    assert first.settings() == again.settings()
    other = open_at(root, id_salt_file=str(tmp_path / "other"))
    assert other.entries[0].scan_id != first.entries[0].scan_id
    assert other.entries[0].subject_id != first.entries[0].subject_id
    assert other.settings() != first.settings()


def test_readable_ids_are_told_apart(tmp_path: Path) -> None:
    for number in range(2):
        write_series(tmp_path / "set" / f"{number}", volume(number), SeriesInstanceUID=f"1.2.3.{number}")
    assert [e.scan_id for e in open_at(tmp_path / "set", hash_ids=False).entries] == ["QX-4711_3", "QX-4711_3-2"]


def test_the_reader_travels_to_other_processes(tmp_path: Path) -> None:
    write_series(tmp_path / "set", volume(0), CT)
    dataset = open_at(tmp_path / "set")
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.entries == dataset.entries
    assert np.array_equal(copy.read(copy.entries[0]).image, dataset.read(dataset.entries[0]).image)
    assert copy.shown_path(copy.entries[0].image_paths[0]) == "image004.dcm"


@pytest.mark.parametrize(
    ("name", "is_hashed"),
    [
        ("knee_01", False),
        ("Dupont", True),
        ("scan-dupont.dcm", True),
        ("DuPont_René", True),
        ("ren\u0065\u0301", True),  # the accent as a letter of its own
        ("12-34-56", True),
        ("0123456", True),
        ("le.dcm", False),  # a part of the name, but two letters only
        ("1.2.840.113619.2.5", True),
        ("series 1.5", False),
    ],
)
def test_components_of_paths(name: str, is_hashed: bool) -> None:
    paths = ShownPaths(Path("data"), IdHasher(b"x" * 16))
    terms = identity_terms(("Dupont^René le", "123456"))
    shown = paths.shown(f"data/a/{name}", terms)
    assert (shown != f"a/{name}") == is_hashed
    assert shown.startswith("a/")
    assert shown.endswith(".dcm") == name.endswith(".dcm")
    assert paths.shown("data/a/b.dcm", None).count("hash-") == 2
    assert paths.shown("elsewhere/b.dcm", frozenset()) == "b.dcm"


def test_processes_that_make_the_salt_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in place of processes, held back until each has found that there is no salt."""
    path = tmp_path / "new" / "salt"
    barrier = threading.Barrier(8)
    make = dicom_ids._make_salt
    monkeypatch.setattr(dicom_ids, "_make_salt", lambda file: (barrier.wait(), make(file)))
    with ThreadPoolExecutor(8) as pool:
        (salt,) = {one.decode() for one in pool.map(load_salt, [str(path)] * 8)}
    assert re.fullmatch(r"[0-9a-f]{64}", salt)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["salt"]
    assert salt not in repr(IdHasher(salt.encode()))


def test_the_salt_is_made_in_the_users_configuration_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inpaint_ssl.data.readers.dicom.ids.user_config_dir", lambda name: str(tmp_path / name))
    assert load_salt() == load_salt() == load_salt(str(tmp_path / "inpaint_ssl" / "id_salt"))


def test_a_salt_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc\n")
    assert "holds 3 bytes, expected the salt of hashed ids" in message(load_salt, str(tmp_path / "short"))
    assert f"the salt of hashed ids, {tmp_path}, cannot be read" in message(load_salt, str(tmp_path))
    assert "cannot be read or made" in message(load_salt, str(tmp_path / "short" / "below"))


def test_an_element_of_damaged_length_takes_no_name_into_a_message(tmp_path: Path) -> None:
    """Its value goes on into those that follow it."""
    for path in write_series(tmp_path / "set", volume(0), kind=UID("1.2.3"), Modality="XX"):
        content = path.read_bytes()
        assert content.count(b"\x08\0\x60\0CS\2\0XX") == 1
        path.write_bytes(content.replace(b"\x08\0\x60\0CS\2\0XX", b"\x08\0\x60\0CS\x50\0XX"))
    text = message(open_at, tmp_path / "set")
    assert "object of modality unknown" in text
    assert "Miller" not in text and "QX-4711" not in text
