"""Where this process stands in a run of several: as the settings, SLURM or Open MPI say."""

import os
import re
from dataclasses import dataclass

from inpaint_ssl.errors import InputError

# Tasks of the step, not of the allocation (SLURM_NTASKS): a lone process inside an allocation must not wait for others.
_SYSTEMS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),  # second: srun may have started mpirun's own helpers
)


@dataclass(frozen=True)
class Place:
    """Host and port of process 0, number of processes, index of this one."""

    host: str
    port: int
    count: int
    index: int
    local_devices: tuple[int, ...] | None = None  # of those that are visible; None = all


def find_place(coordinator: str, processes: int, process: int) -> Place | None:
    """This process's place in the run, None when it is alone. InputError for impossible values."""
    if not coordinator and processes > 1:
        raise InputError(
            f"config.distributed.processes: got {processes} without config.distributed.coordinator, expected the "
            "address:port of process 0 as well"
        )
    task = _task()
    count, index = (processes, process) if coordinator and processes else task[:2] if task else (0, 0)
    if not coordinator and not count:
        return None
    if count < 1:
        raise InputError(
            "config.distributed.processes: got 0 with a coordinator and neither SLURM nor Open MPI to ask, expected "
            "the number of processes"
        )
    if not 0 <= index < count:
        raise InputError(
            f"config.distributed.process: got {index} of {count} processes, expected 0 to {count - 1}, another in each"
        )
    address = coordinator or _detected_address(count, index)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"config.distributed.coordinator: got {address!r}, expected address:port of process 0, such as "
            "10.0.0.1:29400, with a port that is free there"
        )
    local_devices = task[2] if task and not processes else None
    return None if count == 1 else Place(host.strip("[]"), int(port), count, index, local_devices)


def _task() -> tuple[int, int, tuple[int, ...] | None] | None:
    """(processes, index, devices) as srun or mpirun say, None when there is but one process."""
    for names in _SYSTEMS:
        values = [os.environ.get(name, "") for name in names]
        if all(value.isdecimal() for value in values) and int(values[0]) > 1:
            count, index, local_rank = map(int, values)
            return count, index, (local_rank,) if _share_devices() else None
    return None


def _share_devices() -> bool:
    """True when the processes of one machine see the same devices, so that each must take its own."""
    alone_here = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1" or re.fullmatch(
        r"1(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return not alone_here and (visible is None or "," in visible)


def _detected_address(count: int, index: int) -> str:
    """address:port of process 0, by what jax knows of batch systems."""
    from jax._src.clusters import ClusterEnv  # private, but its address would be known only after jax has connected

    try:
        address = ClusterEnv.auto_detect_unset_distributed_params(None, count, index, None, None, 30)[0]
    except RuntimeError:  # Open MPI 5 without mpi4py
        address = None
    if address is None:
        raise InputError(
            f"started as process {index} of {count}, but the batch system does not say where process 0 is; add "
            "--config.distributed.coordinator=<address of its machine>:<free port> to the command of every process"
        )
    return str(address)
