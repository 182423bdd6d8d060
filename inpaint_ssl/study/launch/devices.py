"""The GPUs of this machine, and what tells a worker which of them, or which cores, are its own."""

import os
import re
import subprocess

_PREALLOCATED = 0.75  # jax's own default: the share of a GPU's memory that one process takes at its start


def visible_gpus() -> list[str]:
    """Names of the GPUs as CUDA_VISIBLE_DEVICES takes them: what it holds where it is set, else what nvidia-smi lists.

    JAX_PLATFORMS=cpu leaves none.
    """
    if os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        gpus = [name.strip() for name in named.split(",")]
        # CUDA ignores whatever follows an index that is none.
        return gpus[: gpus.index("-1")] if "-1" in gpus else [name for name in gpus if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed_gpus(listed.stdout) if listed.returncode == 0 else []


def listed_gpus(text: str) -> list[str]:
    """UUIDs in the output of `nvidia-smi -L`; of a GPU that is cut into MIG parts those of the parts."""
    found: list[str] = []
    for line in text.splitlines():
        match = re.search(r"^(\s*)(GPU|MIG) .*\(UUID: (\S+)\)", line)
        if match is None:
            continue
        if match[2] == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()  # the GPU as a whole cannot be used beside its parts
        found.append(match[3])
    return found


def environment_of(index: int, workers: int, gpus: list[str]) -> dict[str, str]:
    """The variables by which worker `index` of `workers` finds its GPU; {} without GPUs."""
    if not gpus:
        return {}
    own = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]}
    sharing = len(range(index % len(gpus), workers, len(gpus)))
    if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_PREALLOCATED / sharing:.3f}"
    return own


def take_cores(pid: int, index: int, workers: int) -> None:
    """Give a worker on the CPU that has just started its share of this process's cores, where there are enough."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= workers:
        try:
            os.sched_setaffinity(pid, cores[index::workers])
        except OSError:  # it has ended already
            return
