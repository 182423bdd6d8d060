"""How to repeat it: commands, files, hardware, versions, wall time, departures from the paper, and notes."""

from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.evidence.markdown import bullets, folded, table
from inpaint_ssl.report.evidence.missing import wrapped
from inpaint_ssl.report.evidence.read import Evidence
from inpaint_ssl.report.text import duration, enumeration, plain

_MAKE = (
    "python -m experiments.results collect --from=runs/evidence",
    "python -m experiments.results write",
)


def record(evidence: Evidence, folder: str) -> str:
    """Everything that is needed to repeat the studies; folder: that of the evidence as seen from RESULTS.md."""
    parts = ["**Commands**", _commands(evidence), "**Where and how long**", _machines(evidence)]
    parts += ["**Files**", _files(folder)]
    parts += [folded(f"Departures from the paper: {s.label}", bullets(s.info["departures"])) for s in evidence.studies]
    parts.append(f"**Notes**\n\n{evidence.notes}" if evidence.notes else "")
    return "\n\n".join(part for part in parts if part)


def _commands(evidence: Evidence) -> str:
    lines = [wrapped(study.name.command) for study in evidence.studies]
    text = "\n".join((*lines, *_MAKE))
    return (
        f"```bash\n{text}\n```\n\n`<folder>` is that of the data set, which stays out of the repository. The same "
        "command goes on with what is missing."
    )


def _machines(evidence: Evidence) -> str:
    if not evidence.studies:
        return "Not run."
    headings = (
        "Study",
        "Runs",
        "Device",
        "Processor",
        "Cores",
        "Time of the runs",
        "Last run (UTC)",
        "Versions",
    )
    rows = []
    for study in evidence.studies:
        about, cells = study.environment, study.info["cells"]
        done = len(cells) - len(study.incomplete)
        versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
        rows.append(
            (
                study.label, f"{done} of {len(cells)}", plain(about.get("device")), plain(about.get("processor")),
                plain(about.get("cores")), duration(about.get("seconds")), plain(about.get("finished")), versions,
            )
        )  # fmt: skip
    longest = [
        f"{study.label}: {duration(min(of.values()))} to {duration(max(of.values()))} a run"
        for study in evidence.studies
        if (of := study.environment.get("seconds_of_runs"))
    ]
    words = f"\n\n{enumeration(longest)}; the table has the sum, runs may go side by side." if longest else ""
    return table(headings, rows, (4,)) + words


def _files(folder: str) -> str:
    return (
        f"Every number above is computed from `{folder}/<study>/`: "
        f"`{files.SCANS}` (one row for each run, scan, class and metric), `{files.STUDY}` and `{files.CONFIG}` (arms, "
        f"runs and all settings), `{files.SPLITS}`, `{files.RESTORATION}` (L2 norms), `{files.CURVES}` (validation "
        f"loss of every run), `{files.ENVIRONMENT}`. Settings that name a place are emptied, columns that are constant "
        f"and the metrics {enumeration(list(files.SPARED))} are left out."
    )
