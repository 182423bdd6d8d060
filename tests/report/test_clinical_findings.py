"""What the page says of clinical metrics in a sentence, and which metrics it shows, from rows written here."""

import math
from pathlib import Path
from typing import Any

import pytest

from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.report.clinical.findings import finding
from inpaint_ssl.report.clinical.shown import like_the_paper, one_slice_scans, shown_metrics
from inpaint_ssl.report.load import Study, read_study

ARMS = ("from_scratch", "pretrained")
HEADER = "arm,label_fraction,subset_draw,seed,split,subject,scan,class,metric,unit,prediction,truth,value,flag"
Errors = dict[str, tuple[list[float], list[float]]]  # by class: percent errors of each scan, from scratch, pretrained


def study_of(root: Path, runs: list[Errors], metric: str = "volume_mm3", **info: Any) -> Study:
    lines = [HEADER]
    for seed, errors in enumerate(runs):
        for name, by_arm in errors.items():
            for arm, values in zip(ARMS, by_arm, strict=True):
                for scan, error in enumerate(values):
                    row = f"{arm},0.05,0,{seed},test,s{scan},s{scan},{name}"
                    lines.append(f"{row},{metric},%,{100 + error},100,{error},")
                    lines.append(f"{row},dice,ratio,1,1,0.5,")
    (root / "per_scan.csv").write_text("\n".join(lines))
    write_json_atomic(root / "study.json", {"classes": list(runs[0])} | info)
    return read_study(root)


def alike(subjects: int, **changes: tuple[float, float]) -> Errors:
    return {name: ([before] * subjects, [after] * subjects) for name, (before, after) in changes.items()}


@pytest.mark.parametrize(
    ("changes", "subjects", "expected"),
    [
        ({"a": (10, 5), "b": (8, 2)}, 5, " was lower with pretraining for both classes, most for b (8.0 % from "
         "scratch, 2.0 % pretrained)."),
        ({"a": (10, 12), "b": (8, 9), "c": (40, 3)}, 5, " was, with pretraining, higher for 2 of 3 classes, most for "
         "a (10.0 % from scratch, 12.0 % pretrained); lower for 1, c (40.0 % from scratch, 3.0 % pretrained)."),
        ({"a": (10, 5), "b": (8, 9)}, 5, " went both ways with pretraining: lower for 1 of 2 classes, a (10.0 % from "
         "scratch, 5.0 % pretrained); higher for 1, b (8.0 % from scratch, 9.0 % pretrained)."),
        ({"a": (10, 5), "b": (8, 8), "c": (8, 8.01)}, 5, " was, with pretraining, lower for 1 of 3 classes, a (10.0 % "
         "from scratch, 5.0 % pretrained), and the same for 2."),
        ({"a": (10, 10.01)}, 5, " was the same in both arms."),
        ({"a": (10, 5)}, 5, " was lower with pretraining (10.0 % from scratch, 5.0 % pretrained)."),
        ({"a": (10, 5)}, 4, ""),
    ],
)  # fmt: skip
def test_what_the_medians_say(
    tmp_path: Path, changes: dict[str, tuple[float, float]], subjects: int, expected: str
) -> None:
    sentence = finding(study_of(tmp_path, [alike(subjects, **changes)]), "volume_mm3")
    assert sentence == (expected and f"With 5 % of the labels, the median error of volume{expected}")


def test_arms_are_compared_on_the_scans_that_both_have(tmp_path: Path) -> None:
    # from scratch has nothing of 6 hard scans, on which pretraining errs by 30 %; on the others pretraining is better
    nan = math.nan
    hard: Errors = {"a": ([4.0] * 6 + [nan] * 6, [2.0] * 6 + [30.0] * 6)}
    study = study_of(tmp_path, [hard], "mean_hu")
    bars = [study.agreement("mean_hu", 0.05, "a", arm) for arm in ARMS]
    assert [a.error.median for a in bars if a] == [4.0, 16.0]  # each arm alone would say the opposite
    assert finding(study, "mean_hu") == (
        "With 5 % of the labels, the median error of mean HU was lower with pretraining (4.0 % from scratch, 2.0 % "
        "pretrained). Compared where both arms have a value: from scratch had no value for 6 of 12 scans."
    )


def test_scans_without_a_value_are_named_by_arm_and_class(tmp_path: Path) -> None:
    nan = math.nan
    runs: list[Errors] = [
        {name: ([nan] * n + [4.0] * (12 - n), [5.0] * 11 + [nan if name == "b" else 5.0]) for name, n in missing}
        for missing in ([("a", 1), ("b", 3), ("c", 2), ("d", 1)], [("a", 0), ("b", 0), ("c", 3), ("d", 0)])
    ]
    assert finding(study_of(tmp_path, runs), "volume_mm3").endswith(
        " Compared where both arms have a value: in at least one run, from scratch had no value for 3 of 12 scans of "
        "b, 3 of 12 scans of c and as many or fewer of 2 other classes; pretrained had no value for 1 of 12 scans of b."
    )


def test_what_holds_for_each_arm_is_said_once(tmp_path: Path) -> None:
    errors: Errors = {"a": ([math.nan, *[4.0] * 5], [math.nan, *[2.0] * 5])}
    assert finding(study_of(tmp_path, [errors]), "volume_mm3").endswith(
        "Compared where both arms have a value: each had no value for 1 of 6 scans."
    )


def test_classes_with_too_few_scans_in_common_are_left_out_and_named(tmp_path: Path) -> None:
    nan = math.nan
    errors: Errors = {"a": ([4.0] * 8, [2.0] * 8), "b": ([nan] * 4 + [4.0] * 4, [2.0] * 8)}
    assert finding(study_of(tmp_path, [errors]), "volume_mm3").endswith(
        "was lower with pretraining (4.0 % from scratch, 2.0 % pretrained). Left out is b: fewer than 5 subjects."
    )


def slices(root: Path, thickness: list[float], predictions: list[float], **info: Any) -> Study:
    """Volumes and areas of scans; `thickness` is volume over area of each prediction, that of the truth is 3.3."""
    lines = [HEADER]
    for scan, (t, area) in enumerate(zip(thickness, predictions, strict=True)):
        for metric, predicted, true in (("volume_mm3", t * area, 3.3 * 70.0), ("area_mm2", area, 70.0)):
            row = f"pretrained,1.0,0,0,test,s{scan},s{scan},a,{metric},%,{predicted!r},{true!r}"
            lines.append(f"{row},{100 * (predicted - true) / true!r},")
        lines.append(f"pretrained,1.0,0,0,test,s{scan},s{scan},b,volume_mm3,%,0.0,0.0,nan,absent")
        lines.append(f"pretrained,1.0,0,0,test,s{scan},s{scan},b,area_mm2,%,0.0,0.0,nan,absent")
    (root / "per_scan.csv").write_text("\n".join(lines))
    write_json_atomic(root / "study.json", {"classes": ["a", "b"]} | info)
    return read_study(root)


@pytest.mark.parametrize(
    ("thickness", "predictions", "one"),
    [
        ([3.3, 3.3], [61.3, 77.7], True),
        ([3.3, 3.3 + 1e-6], [61.3, 77.7], False),  # one scan has more slices in the prediction than in truth
        ([3.3, 3.3], [0.0, 70.0], False),  # -100 % and 0 % would be equal for any number of slices
    ],
)
def test_of_scans_of_one_slice_the_area_is_shown(
    tmp_path: Path, thickness: list[float], predictions: list[float], one: bool
) -> None:
    study = slices(tmp_path, thickness, predictions)
    assert one_slice_scans(study) is one and study.clinical_metrics == ("volume_mm3", "area_mm2")
    assert shown_metrics(study) == (("area_mm2",) if one else ("volume_mm3", "area_mm2"))


def test_which_metrics_are_the_papers(tmp_path: Path) -> None:
    metrics = ("volume_mm3", "area_mm2", "mean_hu", "mean_t2_ms")
    for modality, own in (("mri", [True, False, False, True]), ("ct", [False, True, True, False]), ("", [False] * 4)):
        study = slices(tmp_path, [3.3], [60.0], modality=modality)
        assert [like_the_paper(study, m) == "As figure 6 of the paper" for m in metrics] == own
    assert like_the_paper(study, "area_mm2") == "In the manner of figure 6 of the paper"
