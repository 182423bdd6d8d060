"""Findings and forecast on the terminal: plain words, the same without colour."""

from rich.console import Console
from rich.text import Text

from inpaint_ssl.doctor.examine import Diagnosis
from inpaint_ssl.doctor.findings import SEVERITIES, Finding, count
from inpaint_ssl.doctor.plan import Plan

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
ITEMS = 5  # of a finding are shown
_INDENT = "         "


def print_findings(diagnosis: Diagnosis, plan: Plan, console: Console) -> None:
    """Print every finding as a block, the most severe first, then what training will do, then the count."""
    found = diagnosis.found
    if found is not None:
        where = f" in {found.root}" if found.root else ""
        _line(console, Text(f"{found.reader.name}: {count(len(found.reader.entries), 'scan')}{where}", "bold"))
    for finding in plan.findings:
        console.print()
        _print(finding, console)
    if plan.lines:
        console.print()
        _line(console, Text("What training will do with the data", "bold"))
        for subject, text in plan.lines:
            _line(console, Text.assemble((f"{subject}: ", "bold"), text))
    console.print()
    _line(console, Text(summary(plan), "bold"))


def summary(plan: Plan) -> str:
    """ "2 errors, 1 warning, 3 remarks"."""
    numbers = {severity: sum(f.severity == severity for f in plan.findings) for severity in SEVERITIES}
    words = (("error", "error"), ("warning", "warning"), ("info", "remark"))
    return ", ".join(count(numbers[severity], word) for severity, word in words)


def _print(finding: Finding, console: Console) -> None:
    label = Text(f"{finding.severity.upper():<9}", STYLES[finding.severity])
    _line(console, Text.assemble(label, (finding.message, "bold")))
    for item in finding.items[:ITEMS]:
        _line(console, Text(f"{_INDENT}{item.path}{': ' if item.detail else ''}{item.detail}"))
    if len(finding.items) > ITEMS:
        _line(console, Text(f"{_INDENT}and {len(finding.items) - ITEMS} more"))
    if finding.remedy:
        _line(console, Text(f"{_INDENT}Remedy: {finding.remedy}", "dim" if console.is_terminal else ""))


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)
