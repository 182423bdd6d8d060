"""What a study says: report.html, figures, tables and the table in the terminal, from its files alone (no jax)."""

from inpaint_ssl.report.page import write_report
from inpaint_ssl.report.terminal import print_table

__all__ = ["print_table", "write_report"]
