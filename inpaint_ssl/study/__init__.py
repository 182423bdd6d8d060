"""A study: pretraining, fine-tuning of both arms on label subsets, evaluation, statistics and report in one folder."""

from inpaint_ssl.study.run import run_study

__all__ = ["run_study"]
