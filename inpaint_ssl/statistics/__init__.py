"""Statistics of a study from the rows of per_scan.csv: paired tests of Dice, agreement of clinical metrics. No jax."""

from inpaint_ssl.statistics.agreement import (
    NEAR_ZERO_HU,
    QUANTITIES,
    Agreement,
    BlandAltman,
    Pair,
    PairedErrors,
    PercentError,
    agreement,
    paired_errors,
)
from inpaint_ssl.statistics.bootstrap import Bootstrap, mean_interval
from inpaint_ssl.statistics.flags import FlagCount, Flags, count_flags
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.rows import AVERAGE, FROM_SCRATCH, PRETRAINED
from inpaint_ssl.statistics.study import (
    ArmSummary,
    Comparison,
    Description,
    Entry,
    RunMean,
    StudyStatistics,
    describe,
    summarise,
)
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, minimum_n, wilcoxon_greater

__all__ = [
    "AVERAGE",
    "FROM_SCRATCH",
    "NEAR_ZERO_HU",
    "PRETRAINED",
    "QUANTITIES",
    "Agreement",
    "ArmSummary",
    "BlandAltman",
    "Bootstrap",
    "Comparison",
    "Description",
    "Entry",
    "FlagCount",
    "Flags",
    "Pair",
    "PairedErrors",
    "PercentError",
    "RunMean",
    "StudyStatistics",
    "WilcoxonResult",
    "agreement",
    "count_flags",
    "describe",
    "holm",
    "mean_interval",
    "minimum_n",
    "paired_errors",
    "summarise",
    "wilcoxon_greater",
]
