"""The report of a study of arms: numbers by hand and by SciPy, words, figures, and the page."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from arms_study import ARMS, ArmsStudy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from scipy import stats
from test_page import Page

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.report.drawing import STYLE
from inpaint_ssl.report.info import read_info
from inpaint_ssl.report.kinds import part_of
from inpaint_ssl.report.kinds.arms import NOT_EVIDENCE
from inpaint_ssl.report.parts import StudyPart, TableView

LATE = {("paper", 0.05, 1): 2400, ("paper", 1.0, 0): 2500, ("from_scratch", 0.05, 0): 2251, ("tuned", 0.05, 0): 2250}


def part(study: ArmsStudy) -> StudyPart:
    with matplotlib.rc_context(STYLE):
        return part_of("arms")(study.root, read_info(study.write()))


def table(found: StudyPart, name: str) -> TableView:
    (view,) = [t for t in found.tables if t.name == name]
    return view


def row(view: TableView, arm: str, fraction: float) -> dict[str, Any]:
    rows = [dict(zip([c.key for c in view.columns], r, strict=True)) for r in view.rows]
    (own,) = [r for r in rows if (r["arm"].value, r["label_fraction"].value) == (arm, fraction)]
    return {key: entry.written for key, entry in own.items()}


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ArmsStudy:
    return ArmsStudy(tmp_path_factory.mktemp("arms"), best=LATE)


@pytest.fixture(scope="module")
def found(study: ArmsStudy) -> StudyPart:
    return part(study)


def of_subject(rows: list[dict[str, Any]], arm: str, fraction: float, metric: str, cls: str = "") -> np.ndarray:
    """Mean over seeds and classes by subject, NaN without a value."""
    own = [r for r in rows if (r["arm"], r["label_fraction"], r["metric"]) == (arm, fraction, metric)]
    found: dict[str, list[float]] = {r["subject"]: [] for r in own}
    for r in own:
        if cls in ("", r["class"]) and r["value"] != "":
            found[r["subject"]].append(abs(float(r["value"])) if metric == "volume_mm3" else float(r["value"]))
    return np.array([np.mean(found[s]) if found[s] else np.nan for s in sorted(found)])


def test_every_number_of_the_dice_table(study: ArmsStudy, found: StudyPart) -> None:
    rows, view = study.rows(), table(found, "dice_of_arms")
    assert [(r[0].value, r[1].value) for r in view.rows] == [
        (f, arm["arm"]) for f in study.fractions for arm in ARMS
    ]  # fmt: skip
    p_values = {}
    for fraction in study.fractions:
        scratch = of_subject(rows, "from_scratch", fraction, "dice")
        for arm in ("paper", "tuned", "flips"):
            own, cells = of_subject(rows, arm, fraction, "dice"), row(view, arm, fraction)
            test = stats.wilcoxon(own, scratch, alternative="greater", method="exact")
            assert (cells["dice"], cells["sd"]) == pytest.approx((own.mean(), own.std(ddof=1)))
            assert (cells["difference"], cells["p_value"]) == pytest.approx(((own - scratch).mean(), test.pvalue))
            assert cells["difference_lower"] < cells["difference"] < cells["difference_upper"]
            assert cells["rank_biserial"] == pytest.approx(2 * test.statistic / 105 - 1)  # 105 = 1 + ... + 14
            assert cells["runs"] == cells["compared_runs"] == cells["finetunings"] == (3 if fraction < 0.25 else 1)
            assert cells["subjects"] == 14 and cells["control"] == "from_scratch"
            p_values[arm, fraction] = test.pvalue
    largest: Any = 0.0
    for place, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = min(1.0, max(largest, (12 - place) * p))
        cells = row(view, *key)
        assert cells["p_holm"] == pytest.approx(largest)
        seeds = {r["seed"] for r in rows if (r["arm"], r["label_fraction"]) == key}
        runs = [[r for r in rows if r["seed"] == seed] for seed in seeds]
        each = [np.mean(of_subject(r, *key, "dice") - of_subject(r, "from_scratch", key[1], "dice")) for r in runs]
        assert cells["runs_higher"] == sum(gain > 0 for gain in each)
        expected = "better" if largest < 0.05 else "worse" if cells["difference_upper"] < 0 else "undecided"
        assert cells["verdict"] == ("runs disagree" if min(each) < 0 < max(each) else expected)
    bold = {(view.rows[k][1].value, view.rows[k][0].value) for k in view.emphasised}
    assert bold == {("tuned", 0.05), ("tuned", 0.1), ("tuned", 0.25)}
    late = {(r[1].value, r[0].value): r[-2].value for r in view.rows if r[-2].value}
    assert late == {("paper", 0.05): 1, ("paper", 1.0): 1, ("from_scratch", 0.05): 1}


def test_classes_distances_and_volumes(study: ArmsStudy, found: StudyPart) -> None:
    rows = study.rows()
    for fraction in (0.05, 1.0):
        for cls in study.classes:
            means = {arm: of_subject(rows, arm, fraction, "dice", cls) for arm in ("from_scratch", "tuned")}
            cells = row(table(found, "dice_by_class"), "tuned", fraction)
            assert cells[f"{cls}_dice"] == pytest.approx(means["tuned"].mean())
            assert cells[f"{cls}_gain"] == pytest.approx((means["tuned"] - means["from_scratch"]).mean())
            error = of_subject(rows, "tuned", fraction, "volume_mm3", cls)
            cells = row(table(found, "volume_error_of_arms"), "tuned", fraction)
            assert cells[cls] == pytest.approx(error.mean()) and cells[cls] > 1
            scratch = of_subject(rows, "from_scratch", fraction, "volume_mm3", cls)
            assert cells[f"{cls}_difference"] == pytest.approx((error - scratch).mean())
    hd95 = table(found, "hd95_of_arms")
    cells = row(hd95, "from_scratch", 0.05)
    assert cells["posterior"] == pytest.approx(of_subject(rows, "from_scratch", 0.05, "hd95_mm", "posterior").mean())
    assert cells["undefined"] == 1 and cells["average_difference"] == "" and row(hd95, "paper", 0.05)["undefined"] == 0
    # what from scratch lacks is left out of both: with one seed the first scan
    both = [of_subject(rows, arm, 1.0, "hd95_mm", "posterior") for arm in ("tuned", "from_scratch")]
    assert np.isnan(both[1][0])
    assert row(hd95, "tuned", 1.0)["posterior_difference"] == pytest.approx((both[0] - both[1])[1:].mean())


def test_the_words(found: StudyPart) -> None:
    assert plain(found.headline) == (
        "Significantly better than from scratch: tuned on validation scans at 5 %, 10 % and 25 % of the labels. "
        "Worse: flips at 5 %, 10 % and 25 % of the labels."
    )
    assert plain(found.statements[0]).startswith("5 % of the labels: tuned on validation scans 0.791 against 0.737")
    assert "adjusted p = 1.000, worse)." in found.statements[0] and len(found.statements) == 4 + 2
    tuned = found.statements[-1]
    assert tuned.startswith("Tuned on validation scans in labelled subjects, compared with from scratch: worth +")
    assert found.cautions == (
        "Few runs (seeds) an arm: 3 runs at 5 % and 10 %, 1 run at 25 % and 100 % of the labels. Tests and intervals "
        "cover differences between subjects, not between training runs.",
        "In 3 of 32 fine-tuning runs (from scratch 1 of 8, paper 2 of 8) the best validation lies in the last tenth of "
        "the steps: longer training might help.",
        "Higher than the control in some runs and lower in others: paper at 10 % of the labels.",
        "The best of several arms looks better on these scans than it will on others.",
    )
    labels = table(found, "labels_saved")
    assert {r[1].value for r in labels.rows} == {"paper", "tuned"} and len(labels.rows) == 2 * 4
    assert row(labels, "tuned", 0.05)["more"] > 0 and row(labels, "paper", 0.05)["why_not_stated"]
    settings = table(found, "arms")
    assert [r[3].shown for r in settings.rows][1:3] == [
        "corruption.patch_size 4", "corruption.patch_size 8; transfer.parts encoder",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_figures_show_the_means_and_intervals(found: StudyPart) -> None:
    average, gains, classes = found.figures
    (axes,) = average.figure.axes
    four = [line for line in axes.get_lines() if np.size(line.get_xdata()) == 4]
    lines = {line.get_color(): np.asarray(line.get_ydata()) for line in four}
    view = table(found, "dice_of_arms")
    for arm, colour in (("paper", "#d55e00"), ("tuned", "#009e73"), ("flips", "#aa4499"), ("from_scratch", "#56b4e9")):
        assert list(lines[colour]) == pytest.approx([row(view, arm, f)["dice"] for f in (0.05, 0.1, 0.25, 1.0)])
    dots = [np.asarray(points.get_offsets()) for points in axes.collections]
    assert [sorted(set(of[:, 0])) for of in dots] == [[0, 1]] * 4  # three runs at 5 and 10 %, one beyond
    for of, arm in zip(dots, ("paper", "tuned", "flips", "from_scratch"), strict=True):
        assert [of[of[:, 0] == k, 1].mean() for k in (0, 1)] == pytest.approx(
            [row(view, arm, f)["dice"] for f in (0.05, 0.1)]
        )
    assert len(gains.figure.axes) == 4 and len(classes.figure.axes) == 2
    for axes, fraction in zip(gains.figure.axes, (0.05, 0.1, 0.25, 1.0), strict=True):
        intervals = [x for line in axes.get_lines() if (x := np.asarray(line.get_xdata())).size == 2][1:]
        cells = [row(view, arm, fraction) for arm in ("paper", "tuned", "flips")]
        assert [list(ends) for ends in intervals] == [
            pytest.approx([c["difference_lower"], c["difference_upper"]]) for c in cells
        ]
    for drawing in found.figures:
        FigureCanvasAgg(drawing.figure).draw()  # nothing is left to fail while it is saved
        assert "test scans" in drawing.caption and "0." in drawing.alt


def test_the_page_and_the_terminal(study: ArmsStudy) -> None:
    study.write()
    page = Page(write_report(study.root).read_text(encoding="utf-8"))
    assert page.problems == [] and page.open == [] and len(page.ids) == len(set(page.ids))
    assert page.tags["svg"] == 3
    text = plain(page.text)
    for words in (
        "evidence arms compared", "Worse: flips", "Dice of every arm, averaged over classes", "HD95 (mm)",
        "Volume error (%)", "Means on the test scans", "Every seed's value", "Best is late",
    ):  # fmt: skip
        assert words in text, words
    assert "validation scans (for choosing" not in text
    late = {r["run"]: r["late"] for r in read_csv(study.root / "tables/runs.csv")}
    assert [name for name, flag in late.items() if flag == "yes"] == [
        "pretrain paper seed 0", "finetune from_scratch 5 % labels seed 0", "finetune paper 5 % labels seed 1",
        "finetune paper 100 % labels seed 0",
    ]  # fmt: skip
    console = Console(record=True, width=120, file=io.StringIO())
    print_table(study.root, console)
    assert "Significantly better than from scratch: tuned" in console.export_text()


def test_validation_scans_are_no_evidence_and_only_they_are_shown(tmp_path: Path) -> None:
    options: dict[str, Any] = {"fractions": [0.05], "seeds": [0], "subjects": 9, "distances": False}
    study = ArmsStudy(tmp_path, splits=["validation", "test"], select_on="validation", **options)
    found = part(study)
    assert found.headline.startswith("Significantly better than from scratch on the validation scans: tuned on")
    assert found.cautions[:2] == (NOT_EVIDENCE, "Measured on validation scans and test scans; shown here: the "
                                  "validation scans.")  # fmt: skip
    assert "With 9 validation subjects the intervals are somewhat too narrow." in found.cautions
    assert [f.name for f in found.figures] == ["gains_of_arms"]  # a single label fraction makes no curve
    assert [t.name for t in found.tables] == ["arms", "dice_of_arms", "dice_by_class"]
    assert all("validation scans (for choosing settings, not evidence)" in t.note for t in found.tables[1:])
    rows = [r for r in study.rows() if r["split"] == "validation"]
    mean = of_subject(rows, "tuned", 0.05, "dice").mean()
    assert row(table(found, "dice_of_arms"), "tuned", 0.05)["dice"] == pytest.approx(mean)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Means on the validation scans" in page.text and "test subjects" not in page.text
    dice = read_csv(tmp_path / "tables/dice.csv")
    (own,) = [r for r in dice if (r["arm"], r["class"], r["seed"]) == ("tuned", "average", "all")]
    assert float(own["mean"]) == pytest.approx(mean)


def test_other_controls_and_what_is_missing(tmp_path: Path) -> None:
    arms = [dict(arm) for arm in ARMS]
    arms[2]["against"], arms[1]["against"] = "paper", "flips"
    study = ArmsStudy(tmp_path, arms=arms, missing=[("tuned", 0.1, 2), *((a["arm"], 1.0, 0) for a in arms[1:])])
    found = part(study)
    assert found.headline.startswith("Significantly better than the control: paper at 5 %, 10 % and 25 %; tuned on")
    tuned = row(table(found, "dice_of_arms"), "tuned", 0.1)
    assert (tuned["control"], tuned["runs"], tuned["compared_runs"]) == ("paper", 2, 2)
    assert "Of the 12 planned tests 9 could be made; a missing one counts as p = 1." in found.cautions
    assert "14 scans and runs have no partner in the control: not compared." in found.cautions
    # labels are those that the control from scratch at the end of the chain would need
    assert {r[1].value for r in table(found, "labels_saved").rows} == {"paper", "tuned"}
    assert "compared with flips:" in found.statements[-1] and "compared with flips:" in found.statements[-2]


@pytest.mark.parametrize(
    ("options", "headline"),
    [
        ({"subjects": 5}, "No verdict yet: too few test subjects to reach p < 0.05 for 6 tests."),
        ({"gains": {}}, "No arm segmented significantly better than from scratch."),
        ({"select_on": "validation"}, "No segmentation results yet on the validation scans."),
        ({"arms": [dict(ARMS[0])]}, "No comparison yet."),
        ({"gains": dict.fromkeys(("paper", "tuned", "flips"), -0.9)}, "No arm segmented significantly better than"),
    ],
)
def test_headlines_of_studies_without_a_gain(tmp_path: Path, options: dict[str, Any], headline: str) -> None:
    study = ArmsStudy(tmp_path, fractions=[0.05, 0.1], distances=False, **options)
    found = part(study)
    assert found.headline.startswith(headline)
    if options.get("gains"):
        assert "Worse: paper at 5 % and 10 %; tuned" in plain(found.headline)
        (lost,) = [c for c in found.cautions if "a class was missed in most scans (median Dice below 0.1)" in c]
        assert "paper" in lost and "from scratch" not in lost


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"label": "nameless"}, r"holds an entry that is no arm \(KeyError: 'arm'\)"),
        ({"arm": "late", "against": "nobody"}, '"late" is compared with "nobody", which is none of its arms'),
        ({"arm": "alone", "against": "alone"}, "alone against alone; expected each arm once"),
    ],
)
def test_damaged_arms_are_refused(tmp_path: Path, entry: dict[str, Any], complaint: str) -> None:
    study = ArmsStudy(tmp_path, fractions=[0.05], seeds=[0], distances=False, arms=[dict(ARMS[0])])
    study.write()
    info = read_info(tmp_path) | {"arms": [dict(ARMS[0]), entry]}
    with pytest.raises(InputError, match=complaint):
        part_of("arms")(tmp_path, info)
