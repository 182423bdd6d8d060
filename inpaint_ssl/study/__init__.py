"""A study: pretraining, fine-tuning of its arms on label subsets, evaluation, selection and report in one folder."""

from typing import Any

__all__ = ["run_study"]


def __getattr__(name: str) -> Any:
    """run_study, imported when it is asked for: claims and workers need nothing of it."""
    if name != "run_study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inpaint_ssl.study.run import run_study

    return run_study
