"""Bundles: one file with everything that applies a trained network to other scans, and nothing that names a patient."""

from inpaint_ssl.bundle.archive import read_archive
from inpaint_ssl.bundle.card import MetricsCard, Score, card_of_run
from inpaint_ssl.bundle.load import Bundle, load_bundle
from inpaint_ssl.bundle.verify import Agreement, verify_bundle
from inpaint_ssl.bundle.write import Written, write_bundle

__all__ = [
    "Agreement",
    "Bundle",
    "MetricsCard",
    "Score",
    "Written",
    "card_of_run",
    "load_bundle",
    "read_archive",
    "verify_bundle",
    "write_bundle",
]
