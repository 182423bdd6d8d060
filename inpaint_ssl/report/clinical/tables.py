"""The CSV files of clinical metrics in tables/: agreement, one a metric; surface distances; flags."""

import math
from collections.abc import Sequence
from typing import Any

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.report.load import Study
from inpaint_ssl.statistics import QUANTITIES, Agreement

_WHERE = ("label_fraction", "labelled_subjects", "class", "arm")
_DISTANCES = (*_WHERE, "metric", "mean_mm", "sd_mm", "subjects", "scans", "excluded")
_FLAGS = (
    *("metric", "class", "arm", "label_fraction", "flag"),
    *("n_scans", "of_scans", "values", "values_defined", "scans"),
)


def agreement_columns(metric: str) -> tuple[str, ...]:
    """Columns of tables/<metric>.csv; every one that has a unit names it.

    pairs: scans times runs that the numbers rest on; excluded: those without a percent error. rms_cv_sample_sd: of the
    sample standard deviation of a pair, while cv in per_scan.csv takes the population's.
    """
    unit = QUANTITIES[metric]
    return (
        *_WHERE,
        "median_absolute_error_percent", "lower_quartile_absolute_error_percent",
        "upper_quartile_absolute_error_percent", "subjects", "scans", "runs", "pairs", "excluded",
        f"bias_{unit}", f"sd_{unit}", f"lower_limit_{unit}", f"upper_limit_{unit}",
        "bias_percent", "sd_percent", "lower_limit_percent", "upper_limit_percent",
        "rms_cv_sample_sd_percent", "rmse_cv_percent", "values_near_zero_hu",
    )  # fmt: skip


def _cell(value: float | None) -> Any:
    return "" if value is None or math.isnan(value) else value


def _agreement_row(study: Study, a: Agreement) -> dict[str, Any]:
    e, d, p = a.error, a.difference, a.percent_difference
    values = (
        a.label_fraction, study.labelled(a.label_fraction), a.class_name, a.arm,
        e.median, e.lower_quartile, e.upper_quartile, e.n_subjects, e.n_scans, a.n_runs, len(a.pairs), a.n_excluded,
        d.bias, d.sd, d.lower_limit, d.upper_limit, p.bias, p.sd, p.lower_limit, p.upper_limit,
        a.rms_cv_percent, a.rmse_cv_percent, a.n_near_zero if QUANTITIES[a.metric] == "hu" else None,
    )  # fmt: skip
    cells = [value if isinstance(value, str) else _cell(value) for value in values]
    return dict(zip(agreement_columns(a.metric), cells, strict=True))


def _distance_rows(study: Study) -> list[dict[str, Any]]:
    rows = []
    for d in study.distances:
        where = (d.label_fraction, _cell(study.labelled(d.label_fraction)), d.class_name, d.arm, d.metric)
        numbers = (_cell(d.summary.mean), _cell(d.summary.sd), d.summary.n_subjects)
        counts = (d.summary.n_scans, d.summary.n_excluded)
        rows.append(dict(zip(_DISTANCES, (*where, *numbers, *counts), strict=True)))
    return rows


def _flag_rows(study: Study) -> list[dict[str, Any]]:
    rows = []
    for c in study.flags.counts:
        where = (c.metric, c.class_name, c.arm, c.label_fraction, c.flag)
        counts = (len(c.scans), c.n_scans, c.n_values, c.n_defined)
        rows.append(dict(zip(_FLAGS, (*where, *counts, ";".join(c.scans)), strict=True)))
    return rows


def write_clinical_tables(study: Study) -> None:
    """Write tables/<metric>.csv, tables/surface_distances.csv and tables/flags.csv, each where there is something.

    A study without clinical metrics gets none of them.
    """
    folder = study.workdir / "tables"

    def write(name: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        write_csv_atomic(folder / f"{name}.csv", columns, rows)

    for metric in study.clinical_metrics:
        of_metric = [a for a in study.agreements if a.metric == metric]
        write(metric, agreement_columns(metric), [_agreement_row(study, a) for a in of_metric])
    if study.clinical_metrics:
        write("flags", _FLAGS, _flag_rows(study))
    if study.distances:
        write("surface_distances", _DISTANCES, _distance_rows(study))
