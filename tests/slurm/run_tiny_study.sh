#!/bin/bash
# Brings up a SLURM of one node on this machine and runs a tiny study through it: tests/slurm/run_tiny_study.sh
#
# For root on Debian or Ubuntu: installs slurm-wlm and munge where they are missing. Needs the checkout's .venv (or
# PYTHON=<interpreter> with submitit). Everything else, the daemons' files included, is in a temporary folder and goes
# at the end; the daemons are ended. No part of the tests that run by themselves; what it printed when it was last run
# is kept in tests/summaries/slurm_tiny.txt: tests/slurm/run_tiny_study.sh tests/summaries/slurm_tiny.txt
#
# It shows: two jobs side by side; Ctrl-C leaves them running and the same command finds them again; a job whose time is
# up saves and is queued again by SLURM (which takes two minutes); one that is killed by `kill -9` is reported and its
# run is done by the other; every run is trained once; a finished study submits nothing.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}

if [ $# -gt 0 ]; then  # keep the output, without the names of this machine and its folders
  keep=$1
  set +e
  "$0" 2>&1 | sed -u -e "s#/tmp/tiny_slurm\.[A-Za-z0-9]*#<folder>#g" -e "s#$PWD#<checkout>#g" \
    -e "s#\b$(uname -n)\b#<node>#g" -e "s#\b$(uname -n | cut -d. -f1)\b#<node>#g" | tee "$keep.new"
  code=${PIPESTATUS[0]}
  [ "$code" = 0 ] && mv "$keep.new" "$keep"
  exit "$code"
fi

if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
fi
folder=$(mktemp -d /tmp/tiny_slurm.XXXXXX)
daemons=()
finish() {
  code=$?
  trap - EXIT
  if [ "$code" != 0 ]; then
    tail -n 20 "$folder"/*.log >&2
  fi
  command -v scancel >/dev/null && scancel --full --user=root 2>/dev/null || true
  for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
    kill "${daemons[$i]}" 2>/dev/null || true
    wait "${daemons[$i]}" 2>/dev/null || true
  done
  rm -rf "$folder"
  exit "$code"
}
trap finish EXIT

node=$(uname -n | cut -d. -f1)
mkdir "$folder/state" "$folder/spool" "$folder/munge"
chmod 700 "$folder/munge"
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 400 "$folder/munge/key"
chmod 755 "$folder"
cat >"$folder/slurm.conf" <<END
ClusterName=tiny
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=60
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=tiny Nodes=$node Default=YES MaxTime=60 State=UP
END
export SLURM_CONF="$folder/slurm.conf"

munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge.socket" \
  --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" 2>"$folder/munge.log" &
daemons+=($!)
until [ -S "$folder/munge.socket" ]; do sleep 0.1; done
slurmctld -D 2>/dev/null &
daemons+=($!)
slurmd -D -N "$node" 2>/dev/null &
daemons+=($!)
for _ in $(seq 60); do
  sinfo --noheader --format=%T 2>/dev/null | grep -q idle && break
  sleep 1
done
echo "$(sinfo --version), submitit $("$PYTHON" -c 'import submitit; print(submitit.__version__)')"
sinfo --format="%N %c cores, %m MB: %T"

study="$folder/runs/tiny"
command=(
  "$PYTHON" -m experiments.main --config=configs/transfer_grid.py --config.scale=tiny --workdir="$study" \
    --config.launcher=slurm --config.slurm.jobs=2 --config.slurm.gpus=0 --config.slurm.cpus=1 \
    --config.slurm.memory_gb=1 --config.slurm.time_minutes=30
)
trained() {
  find "$study" -name result.json 2>/dev/null | wc -l || true
}

show() {  # what a launcher printed, without the steps of the runs and the results
  sed -e '/^\(All arms\|design  transferred\)/,$d' -e '/step [0-9]/d' \
    -e '/coder\/\|post_processing\/\|tensor  \|Transferred/d' \
    -e '/: \(All arms\|design  transferred\)/,/: \(completed\|failed\)$/{/: \(completed\|failed\)$/!d}' "$1"
}

echo; echo "== Ctrl-C once two runs are trained"
set -m  # so that a command in the background takes SIGINT
"${command[@]}" >"$folder/first.log" 2>&1 &
first=$!
while [ "$(trained)" -lt 2 ] && kill -0 $first 2>/dev/null; do sleep 0.5; done
kill -INT $first || true
code=0
wait $first || code=$?
show "$folder/first.log"
echo "exit code $code"
[ "$code" = 75 ]
squeue --noheader --format="job %i %T" | tee "$folder/left"
[ "$(grep -c RUNNING "$folder/left")" = 2 ]

echo; echo "== The time of job 1 is up: SLURM sends the signal by which submitit lets the worker save"
scancel --signal=USR2 1
for _ in $(seq 120); do
  [ "$(squeue --noheader --jobs=1 --format=%T)" = PENDING ] && break
  sleep 0.5
done
squeue --noheader --format="job %i %T %r"
[ "$(squeue --noheader --jobs=1 --format=%T)" = PENDING ]

echo; echo "== The same command; job 2 is killed in the middle of a run"
"${command[@]}" >"$folder/second.log" 2>&1 &
second=$!
until grep -q "job 2: running" "$folder/second.log"; do
  kill -0 $second
  sleep 0.2
done
scontrol listpids 2.0 | awk 'NR > 1 && $1 > 0 {print $1}' | xargs kill -KILL
code=0
wait $second || code=$?
show "$folder/second.log"
echo "exit code $code"
[ "$code" = 0 ]
grep -q "job 2 failed" "$folder/second.log"

echo; echo "== Once more: nothing is left to do"
"${command[@]}" >"$folder/third.log" 2>&1
if grep "^job" "$folder/third.log"; then exit 1; fi
squeue --noheader

begun=$(sed -n 's/.* INFO \(.*\): [0-9]* slices, [0-9]* steps an epoch.*/\1/p' "$study/log.txt" | sort | uniq -c)
echo "$(trained) runs are trained, $(echo "$begun" | wc -l) were begun; how often those that were interrupted:"
echo "$begun" | awk '$1 > 1'
[ "$(trained)" = "$(echo "$begun" | wc -l)" ]
[ "$(echo "$begun" | awk '$1 > 1' | wc -l)" -le 2 ]  # by the end of the time and by the kill
echo "all of this took $SECONDS s"
