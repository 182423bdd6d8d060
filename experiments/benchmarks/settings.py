"""Sizes and rounds of the corruption benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes in pixels and images; in a round a contender makes as many calls as last `min_round_ms`, or longer.

    corruptions: pairs of task and sampling. step_pairs and min_step_round_ms are rounds of the training step.
    """

    image_size: int = 512
    area_fraction: float = 0.25
    patch_sizes: tuple[int, ...] = (64, 32, 16, 8)
    corruptions: tuple[tuple[str, str], ...] = (
        ("context_prediction", "poisson_disc"),
        ("context_prediction", "random"),
        ("context_restoration", "poisson_disc"),
        ("context_restoration", "random"),
    )
    mask_batch: int = 64
    image_batch: int = 9
    rounds: int = 21
    min_round_ms: float = 5.0
    step_pairs: int = 60
    min_step_round_ms: float = 50.0
    goals: bool = True  # they are stated for the sizes above


QUICK = Settings(
    image_size=64,
    patch_sizes=(8,),
    corruptions=(("context_prediction", "random"), ("context_restoration", "poisson_disc")),
    mask_batch=4,
    image_batch=2,
    rounds=3,
    min_round_ms=0.5,
    step_pairs=3,
    min_step_round_ms=1.0,
    goals=False,
)
