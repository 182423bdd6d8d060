"""The paper's qualitative claims, each with its place in the paper, where it was tested here, and what came out."""

from dataclasses import dataclass

from inpaint_ssl.report.evidence.claims_gain import (
    at_least_equal,
    extent_helps,
    extent_saturates,
    grows,
    hardest,
    weakest,
)
from inpaint_ssl.report.evidence.claims_pretraining import falls_with_size, large_patches, norm_and_dice, sampling
from inpaint_ssl.report.evidence.claims_transfer import encoder_only, frozen_first, high_rate
from inpaint_ssl.report.evidence.outcome import Outcome
from inpaint_ssl.report.evidence.read import Evidence
from inpaint_ssl.report.evidence.rules import NOT_TESTED


@dataclass(frozen=True)
class Claim:
    """One claim. place: in the paper; outcomes: one for each study and arm that tests it, none where nothing does."""

    number: str
    text: str
    place: str
    rule: str
    outcomes: tuple[Outcome, ...]


_CLAIMS = (
    ("1", "The L2 norm of restored images falls with the patch size", "3.2, Table 2", "in order", falls_with_size),
    ("2", "Poisson-disc sampling restores better than random sampling", "3.2, Table 2", "in order", sampling),
    ("3", "A lower L2 norm does not mean a better Dice", "4 (best practices); 3.2", "not lower", norm_and_dice),
    ("4", "At 25 % of the labels and less pretraining is at least equal", "3.2, Figures 3 and 4", "not lower",
     at_least_equal),
    ("5a", "The gain grows as labels shrink", "3.2; 3.4, Figure 5", "higher", grows),
    ("5b", "The gain is largest where Dice from scratch is at most 0.8", "4", "higher", weakest),
    ("6a", "More unlabelled data helps", "3.4, Figure 5", "higher", extent_helps),
    ("6b", "The gain from more unlabelled data saturates", "3.4, Figure 5; 4", "higher", extent_saturates),
    ("7", "Large patches matter for CT, not for MRI", "3.2, Figures 3 and 4; 3.3, Table 3", "CT higher, MRI alike",
     large_patches),
    ("8", "Transferring the encoder only is at least as good as encoder and decoder", "3.1; 6.2.3, Figure 7",
     "not lower", encoder_only),
    ("9", "Freezing first is only slightly better", "4; 6.2.3, Figure 7", "alike", frozen_first),
    ("10", "A rate of 1e-2 destroys pretrained features", "6.2.3, Figure 7", "higher", high_rate),
    ("11", "Clinical errors shrink most for hard classes", "3.5, Figure 6", "higher", hardest),
)  # fmt: skip


def claims(evidence: Evidence, number: str = "") -> tuple[Claim, ...]:
    """Every claim with its outcomes from the collected studies, or only the one of this number."""
    return tuple(
        Claim(own, text, place, rule, tuple(test(evidence)))
        for own, text, place, rule, test in _CLAIMS
        if number in ("", own)
    )


def verdicts(claim: Claim) -> list[str]:
    """The verdicts of a claim, not tested where it has no outcome."""
    return [outcome.verdict for outcome in claim.outcomes] or [NOT_TESTED]
