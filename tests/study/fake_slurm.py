"""A SLURM of four small programs, for tests: sbatch starts the script at once, squeue knows whether it runs.

make(folder) writes them; <folder>/jobs/<number> then holds pid and, at the end, code of each job.
"""

import stat
from pathlib import Path

SBATCH = """#!/bin/sh
grep -q 'partition=none' "$1" && { echo "sbatch: error: invalid partition specified: none" >&2; exit 1; }
number=$(($(ls JOBS | wc -l) + 101))
mkdir JOBS/$number
cp "$1" JOBS/$number/script
env >JOBS/$number/environment
(SLURM_JOB_ID=$number; export SLURM_JOB_ID; SLURM_CPUS_PER_TASK=1; export SLURM_CPUS_PER_TASK
 bash JOBS/$number/script >JOBS/$number/output 2>&1; echo $? >JOBS/$number/code) >/dev/null 2>&1 &
echo $! >JOBS/$number/pid
echo "Submitted batch job $number"
"""
# srun --unbuffered --output <file> --error <file> <command>, with %j and %t in the names
SRUN = """#!/bin/sh
out=$(echo "$3" | sed "s/%j/$SLURM_JOB_ID/g; s/%t/0/g"); err=$(echo "$5" | sed "s/%j/$SLURM_JOB_ID/g; s/%t/0/g")
shift 5
exec "$@" >>"$out" 2>>"$err"
"""
SQUEUE = """#!/bin/sh
[ -e JOBS/../down ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
for word in "$@"; do case $word in --jobs=*) numbers=$(echo "${word#--jobs=}" | tr , ' ');; esac; done
for number in $numbers; do
  if [ -e JOBS/$number/code ]; then
    [ "$(cat JOBS/$number/code)" = 0 ] && echo "$number|COMPLETED|None" || echo "$number|FAILED|NonZeroExitCode"
  elif [ -e JOBS/$number ]; then echo "$number|RUNNING|here"
  else echo "slurm_load_jobs error: Invalid job id specified" >&2; code=1
  fi
done
exit ${code:-0}
"""


def make(folder: Path) -> Path:
    """The folder with the programs, to be put into PATH."""
    jobs, programs = folder / "jobs", folder / "bin"
    jobs.mkdir(parents=True)
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE)):
        path = programs / name
        path.write_text(text.replace("JOBS", str(jobs)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return programs
