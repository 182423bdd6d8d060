"""Table 1 on the page, from rows as study.json has them: the numbers of the paper laid out as there."""

from inpaint_ssl.report.demographics import demographics_table


def row(split: str, sex: str, scans: int, slices: int, mean=None, sd=None, low=None, high=None, **missing) -> dict:
    ages = {"age_mean_years": mean, "age_sd_years": sd, "age_min_years": low, "age_max_years": high}
    counts = {"scans": scans, "slices": slices, "subjects": scans, "unknown_age": 0, "unknown_sex": 0}
    return {"split": split, "sex": sex, **counts, **ages, **missing}


TRAIN = [
    row("train", "M", 46, 7360, 44.72, 17.7, 17.0, 75.0),
    row("train", "F", 40, 6400, 42.9, 18.5, 16.0, 87.0),
    row("train", "total", 86, 13760, 43.9, 18.1, 16.0, 87.0),
]


def shown(view) -> list[tuple[str, ...]]:
    return [tuple(entry.shown for entry in one) for one in view.rows]


def test_the_rows_of_the_paper() -> None:
    view = demographics_table(TRAIN)
    assert view.name == "table_1_demographics"
    headings = ("Split", "Sex", "Volumes", "Slices", "Subjects", "Age (years)", "± sd", "Range (years)")
    assert tuple(column.heading for column in view.columns) == headings
    assert shown(view) == [
        ("Train", "Male", "46", "7360", "46", "44.7", "17.7", "17 – 75"),
        ("Train", "Female", "40", "6400", "40", "42.9", "18.5", "16 – 87"),
        ("Train", "Total", "86", "13760", "86", "43.9", "18.1", "16 – 87"),
    ]
    assert view.emphasised == {2}
    assert [entry.written for entry in view.rows[0]] == ["train", "M", 46, 7360, 46, 44.72, 17.7, "17-75"]
    assert view.note == "Age is mean and standard deviation over subjects; each subject counts once."


def test_what_is_unknown_is_a_dash_and_told_in_the_note() -> None:
    rows = [
        row("train", "M", 2, 20, 44.0, 1.5, 42.5, 45.5),
        row("train", "unknown", 1, 10, unknown_age=1, unknown_sex=1),
        row("train", "total", 3, 30, 44.0, 1.5, 42.5, 45.5, unknown_age=1, unknown_sex=1),
        row("test", "total", 2, 20, unknown_age=2, unknown_sex=2),
    ]
    view = demographics_table(rows)
    assert shown(view)[1] == ("Train", "Not known", "1", "10", "1", "–", "–", "–")
    assert [entry.written for entry in view.rows[1]][5:] == ["", "", ""]
    assert shown(view)[0][-1] == "42.5 – 45.5"
    assert "3 subjects have no known age (1 in train, 2 in test)." in view.note
    assert "3 subjects have no known sex (1 in train, 2 in test)." in view.note


def test_a_data_set_without_ages_has_no_such_columns() -> None:
    view = demographics_table([row("train", "total", 5, 50, unknown_age=5, unknown_sex=5)])
    assert [column.key for column in view.columns] == ["split", "sex", "volumes", "slices", "subjects"]
    assert shown(view) == [("Train", "Total", "5", "50", "5")]
    sentences = [f"The data do not tell the {what} of any subject." for what in ("age", "sex")]
    assert view.note == " ".join(["Each subject counts once.", *sentences])
