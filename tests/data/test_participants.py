"""Age and sex from participants.tsv beside scans in NIfTI: which row belongs to which scan, and damaged tables."""

import shutil
from pathlib import Path

import pytest
from nifti_sets import make_msd, make_nnunet, message, open_root, random_image, save
from rich.console import Console

from inpaint_ssl.data import prepare_store
from inpaint_ssl.errors import Problems


@pytest.fixture(scope="module")
def msd_once(tmp_path_factory) -> Path:
    return make_msd(tmp_path_factory.mktemp("msd"))


@pytest.fixture
def msd(msd_once, tmp_path) -> Path:
    return Path(shutil.copytree(msd_once, tmp_path / msd_once.name))


def write(root: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path = root / "participants.tsv"
    path.write_bytes("".join(line.replace("|", "\t") + end for line in lines).encode(encoding))
    return path


def known(root: Path, **settings) -> dict[str, dict]:
    reader = open_root(root, **settings)
    return {entry.scan_id: dict(reader.read(entry).acquisition) for entry in reader.entries}


def test_ages_and_sexes_by_subject_with_and_without_prefix(msd: Path) -> None:
    write(
        msd,
        "participant_id|sex|group|age",
        "knee_001|F|control|61",
        "sub-knee_002|male|n/a|44.5",
        "knee_003|n/a||89+",
        "knee_009||x|",
    )
    assert known(msd) == {
        "knee_001": {"age_years": 61.0, "sex": "F"},
        "knee_002": {"age_years": 44.5, "sex": "M"},
        "knee_003": {"age_years": 89.0},
        "knee_009": {},
    }
    assert open_root(msd).notes == ()


def test_a_row_is_of_all_scans_of_a_subject_and_a_scan_may_have_its_own(tmp_path: Path) -> None:
    for number, name in enumerate(("sub-07/first", "sub-07/second", "sub-08/first")):
        save(tmp_path / "set" / f"{name}.nii.gz", random_image(number))
    write(tmp_path / "set", "participant_id|age|sex", "sub-07|30|f", "sub-07_second|33|f", "sub-08|50|o")
    ages = {name: about["age_years"] for name, about in known(tmp_path / "set", subject_pattern="sub-[0-9]+").items()}
    assert ages == {"sub-07_first": 30.0, "sub-07_second": 33.0, "sub-08_first": 50.0}
    notes = open_root(tmp_path / "set", subject_pattern="sub-[0-9]+").notes
    assert notes == ()


def test_nnunet_tables_of_windows_and_the_word_gender(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    write(root, "Age|Gender|Participant_ID", "7|Female|a", "8|OTHER|b", "9|m|c", "10|M|d", "", end="\r\n")
    assert [about["sex"] for about in known(root).values()] == ["F", "O", "M", "M"]
    write(root, "participant_id|age", "a|7", encoding="utf-8-sig")
    assert known(root)["a"] == {"age_years": 7.0}


def test_other_ids_and_missing_rows_are_noted(msd: Path) -> None:
    write(msd, "participant_id|age|sex", "knee_001|61|F", "knee_077|1|F", "knee_078|2|F")
    assert open_root(msd).notes == (
        "participants.tsv: 2 of its 3 ids are no subject here (the first is knee_077)",
        "participants.tsv has no row for 3 of 4 subjects (the first is knee_002); their age and sex are unknown",
    )
    assert known(msd)["knee_001"] == {"age_years": 61.0, "sex": "F"}


HEAD = "participant_id|age|sex"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("age|sex", "61|F"), "line 1: the columns are age, sex, expected participant_id"),
        (("participant_id,age,sex", "knee_001,61,F"), "line 1: the columns are participant_id,age,sex, expected"),
        ((), "line 1: the columns are (none)"),
        ((HEAD, "knee_001|61"), "line 2: 2 cells, expected 3 as in line 1"),
        ((HEAD, "knee_001|61|F|x"), "line 2: 4 cells, expected 3"),
        ((HEAD, "knee_001|61|F", "knee_002|old|F"), "line 3: age is 'old', expected years from 0 to 150"),
        ((HEAD, "knee_001|-1|F"), "line 2: age is '-1'"),
        ((HEAD, "knee_001|inf|F"), "line 2: age is 'inf'"),
        ((HEAD, "", "knee_001|61|W"), "line 3: sex is 'W', expected one of F, M, O or n/a"),
        ((HEAD, "|61|F"), "line 2: participant_id is '', expected the id"),
        ((HEAD, "sub-knee_001|61|F", "knee_001|61|F"), "line 3: knee_001 is on line 2 too"),
    ],
)
def test_damaged_tables_are_named_with_the_line(msd: Path, lines: tuple[str, ...], complaint: str) -> None:
    path = write(msd, *lines)
    text = message(open_root, msd)
    assert text.startswith(str(path)) and complaint in text


def test_what_is_no_text_is_refused(msd: Path) -> None:
    path = write(
        msd, HEAD, "knee_001|61|\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), encoding="latin-1"
    )
    assert message(open_root, msd).startswith(f"{path} cannot be read (")


def test_rows_that_cannot_be_used_are_collected_and_left_out(msd: Path) -> None:
    write(msd, HEAD, "knee_001|old|F", "knee_002|44|M")
    problems = Problems(collect=True)
    reader = open_root(msd, problems)
    assert [str(error).partition(" line ")[2][:2] for error in problems.found] == ["2:"]
    assert [error.kind for error in problems.found] == ["listing"]
    found = {entry.scan_id: dict(reader.read(entry).acquisition) for entry in reader.entries}
    assert found["knee_001"] == {} and found["knee_002"] == {"age_years": 44.0, "sex": "M"}


def test_a_prepared_set_holds_them_and_is_made_anew_when_they_change(msd: Path, tmp_path: Path) -> None:
    def ages() -> list[object]:
        store = prepare_store(open_root(msd), "sagittal", tmp_path / "prepared", Console(quiet=True), 1)
        return [record.acquisition.get("age_years") for record in store.records]

    assert ages() == [None] * 4
    write(msd, HEAD, "knee_001|61|F", "knee_002|44|M")
    assert ages() == [61.0, 44.0, None, None]
    write(msd, HEAD, "knee_001|61|F", "knee_002|54|M")
    assert ages() == [61.0, 54.0, None, None]
