"""The state of jobs, as `squeue` and submitit's result files know it; sacct is not needed, which many clusters lack."""

import pickle
import subprocess
from dataclasses import dataclass
from pathlib import Path

from inpaint_ssl.study.launch.logs import Log

GONE = "GONE"  # the cluster has forgotten the job, as it does some minutes after its end
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"),
    *("REVOKED", GONE),
}


@dataclass
class Job:
    """A job of SLURM with the folder in which submitit keeps its files."""

    id: str
    folder: Path
    state: str = "PENDING"
    reason: str = ""

    def __post_init__(self) -> None:
        self.output, self.errors = Log(self.output_path), Log(self.error_path, whole=True)

    @property
    def name(self) -> str:
        """For a person to read."""
        return f"job {self.id}"

    @property
    def output_path(self) -> Path:
        """What the worker prints."""
        return self.folder / f"{self.id}_0_log.out"

    @property
    def error_path(self) -> Path:
        """What goes wrong, of the worker, submitit and SLURM."""
        return self.folder / f"{self.id}_0_log.err"

    def is_over(self) -> bool:
        """False while it waits or runs, and while it waits to run again."""
        return self.state in _OVER

    def outcome(self) -> tuple[int, str]:
        """(exit code, what went wrong or "") of a job that is over; code 1 when the worker could give none."""
        try:
            kind, value = pickle.loads((self.folder / f"{self.id}_0_result.pkl").read_bytes())
        except FileNotFoundError:
            state = "it left no result" if self.state in (GONE, "COMPLETED") else f"SLURM ended it: {self.state}"
            return 1, state
        except (pickle.UnpicklingError, EOFError, ValueError) as error:
            return 1, f"its result cannot be read: {error}"
        if kind == "success":
            return int(value), ""
        return 1, " ".join(str(value).strip().splitlines()[-1:])


def refresh(jobs: list[Job]) -> str:
    """Set state and reason of the jobs; "" or why squeue gave no answer, in which case they stay as they were."""
    asked = {job.id: job for job in jobs if not job.is_over()}
    if not asked:
        return ""
    command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%R", f"--jobs={','.join(asked)}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"squeue cannot be asked: {error}"
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return f"squeue: {' '.join(answer.stderr.split())}"
    found = [line.split("|", 2) for line in answer.stdout.splitlines() if line.count("|") >= 2]
    states = {
        number.strip(): (state.strip(), reason.strip().strip("()").replace("None", ""))
        for number, state, reason in found
    }
    for number, job in asked.items():
        job.state, job.reason = states.get(number, (GONE, ""))
    return ""
