"""Workers as jobs of a SLURM cluster, through submitit."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.signals import EXIT_STOPPED, Stopped, Stops
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.launch.codes import worst
from inpaint_ssl.study.launch.logs import Display
from inpaint_ssl.study.launch.queue import Job, refresh

REQUEUES = 100  # of a job whose time is up; each start goes on from where the last one saved
_ASK_EVERY_S = 5.0
_POLL_S = 0.2
_PATIENCE_S = 15.0  # a network file system shows what another machine wrote with some delay


def run_slurm(
    config: ConfigDict,
    command: Sequence[str],
    workdir: Path,
    console: Console,
    stops: Stops,
    open_groups: int,
    left: Callable[[], int] | None = None,
) -> int:
    """Submit workers (module and flags in `command`) as config.slurm says, and show them until all have ended.

    As many as there are open groups, at most config.slurm.jobs; jobs that an earlier call submitted and that have not
    ended (<workdir>/workers/jobs.json) are counted and not submitted again. Returns the worst of their exit codes.
    Raises signals.Stopped when `stops` name a signal; the jobs go on then. InputError without submitit or SLURM, when
    it refuses a job, and while another process watches the jobs of this study.
    """
    workdir = Path(workdir).absolute()
    claims = Claims(workdir)
    claim = claims.take("workers/slurm")
    if claim is None:
        raise InputError(
            f"{workdir}: its jobs are submitted and watched by {claims.holder('workers/slurm') or 'another process'}; "
            "end that one first (the jobs go on)"
        )
    with claim:
        jobs = _earlier_jobs(workdir)
        if problem := refresh(jobs):
            raise InputError(f'config.launcher: got "slurm", but {problem}; try again when the cluster answers')
        alive = [job for job in jobs if not job.is_over()]
        for job in alive:
            console.print(f"{job.name} of an earlier start: {job.state}", highlight=False, markup=False)
        for _ in range(min(config.slurm.jobs, open_groups) - len(alive)):
            jobs.append(_submit(config, command, workdir))
            _keep(workdir, jobs)
        with Display(console, left) as display:
            return _watch(jobs, workdir, display, stops)


def _watch(jobs: list[Job], workdir: Path, display: Display, stops: Stops) -> int:
    codes: list[int] = []
    asked_at, shown, problem = 0.0, dict[str, str](), ""
    while True:
        if asked := stops.here():
            _say_how_to_go_on(jobs, display)
            raise Stopped(asked)
        display.count()
        if time.monotonic() - asked_at >= _ASK_EVERY_S:
            before, problem, asked_at = problem, refresh(jobs), time.monotonic()
            if problem and problem != before:
                display.say(problem, "yellow")
        for job in list(jobs):
            if shown.get(job.id) != (state := _state(job)):
                shown[job.id] = state
                display.say(f"{job.name}: {state}")
            display.show(job.name, state, job.output)
            if job.is_over():
                codes.append(_ended(job, display))
                jobs.remove(job)
                _keep(workdir, jobs)
        if not jobs:
            return worst(codes)
        time.sleep(_POLL_S)


def _state(job: Job) -> str:
    return f"{job.state.lower()} ({job.reason})" if job.state == "PENDING" and job.reason else job.state.lower()


def _ended(job: Job, display: Display) -> int:
    """The exit code of a job that is over, whose error, if there is one, is shown."""
    deadline = time.monotonic() + _PATIENCE_S
    code, problem = job.outcome()
    while problem and job.state in ("COMPLETED", "GONE") and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        code, problem = job.outcome()
    display.show(job.name, _state(job), job.output)
    if code not in (0, EXIT_STOPPED):
        display.say(f"{job.name} failed: {problem or f'its worker ended with exit code {code}'}", "red")
        display.say(f"its output: {job.output_path}\nits errors: {job.error_path}\n{job.errors.tail()}".rstrip())
    return code


def _say_how_to_go_on(jobs: list[Job], display: Display) -> None:
    numbers = [job.id for job in jobs]
    display.say(
        f"{len(jobs)} job{' goes' if len(jobs) == 1 else 's go'} on: {', '.join(numbers)}; the same command shows "
        f"them again; cancel with: scancel {' '.join(numbers)}"
    )


def _jobs_file(workdir: Path) -> Path:
    return workdir / "workers" / "jobs.json"


def _folder(workdir: Path, number: str) -> Path:
    return workdir / "workers" / "slurm" / number


def _keep(workdir: Path, jobs: list[Job]) -> None:
    content = {"format_version": 1, "jobs": [{"id": job.id, "output": str(job.output_path)} for job in jobs]}
    write_json_atomic(_jobs_file(workdir), content)


def _earlier_jobs(workdir: Path) -> list[Job]:
    """Jobs whose end no launcher of this study has seen."""
    path = _jobs_file(workdir)
    if not path.exists():
        return []
    content = read_json(path, "jobs of a study")
    try:
        numbers = [str(job["id"]) for job in content["jobs"]]
    except (KeyError, TypeError):
        raise InputError(f'{path}: expected {{"jobs": [{{"id": ...}}]}}; remove it when no job runs') from None
    return [Job(number, _folder(workdir, number)) for number in numbers]


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Without the variables of a job in which this process may run itself; a job would take some of them over.

    Where the cluster is (SLURM_CONF) and the user's defaults (SBATCH_...) stay.
    """
    inside = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(inside)


def _submit(config: ConfigDict, command: Sequence[str], workdir: Path) -> Job:
    if shutil.which("sbatch") is None:
        raise InputError(
            'config.launcher: got "slurm", but this machine has no sbatch; start it where jobs are submitted, or use '
            '"local"'
        )
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ModuleNotFoundError as error:
        raise InputError(
            f'config.launcher: got "slurm", which needs submitit ({error}); run: pip install "inpaint-ssl[slurm]"'
        ) from None
    from inpaint_ssl.study.launch.job import WorkerJob

    given = config.slurm
    executor = submitit.AutoExecutor(_folder(workdir, "%j"), cluster="slurm", slurm_max_num_timeout=REQUEUES)
    optional = {
        "gpus_per_node": given.gpus,
        "slurm_partition": given.partition,
        "slurm_account": given.account,
    }
    executor.update_parameters(
        name=f"inpaint_ssl_{workdir.name}",
        timeout_min=given.time_minutes,
        mem_gb=given.memory_gb,
        cpus_per_task=given.cpus,
        # srun of SLURM 22.05 and later does not take the number of cores over from sbatch.
        slurm_setup=['export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"', *given.setup],
        **{name: value for name, value in optional.items() if value},
    )
    with _outside_of_jobs():
        try:
            number = executor.submit(WorkerJob(command)).job_id
        except FailedJobError as error:
            text = " ".join(str(error).split())
            raise InputError(f"SLURM refused the job ({text}); see config.slurm in configs/base.py") from error
    return Job(number, _folder(workdir, number))
