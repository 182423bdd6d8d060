"""Statistics of a study from the rows of per_scan.csv: paired tests of Dice, agreement of clinical metrics. No jax."""

from inpaint_ssl.statistics.agreement import (
    NEAR_ZERO_HU,
    QUANTITIES,
    Agreement,
    BlandAltman,
    FlagCount,
    Flags,
    Pair,
    PercentError,
    agreement,
    count_flags,
)
from inpaint_ssl.statistics.rows import FROM_SCRATCH, PRETRAINED
from inpaint_ssl.statistics.study import (
    AVERAGE,
    ArmSummary,
    Comparison,
    Entry,
    RunMean,
    StudyStatistics,
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
    "Comparison",
    "Entry",
    "FlagCount",
    "Flags",
    "Pair",
    "PercentError",
    "RunMean",
    "StudyStatistics",
    "WilcoxonResult",
    "agreement",
    "count_flags",
    "minimum_n",
    "summarise",
    "wilcoxon_greater",
]
