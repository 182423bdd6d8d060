"""Memory: what is free, what a compiled step will take, and the largest batch that fits.

jax is imported where it is asked, so that readers of data can ask what is free without it.
"""

import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from inpaint_ssl.errors import InputError

GIB = 1024**3
# Convolutions on a CPU allocate buffers that XLA does not count: see `experiments.benchmark memory`.
CPU_SHARE = 2 / 3
_ALWAYS_THERE = 2**28  # so much is not worth the question
_UNLIMITED = 2**60  # a cgroup without a limit states a huge number, or "max"


def predicted_peak_bytes(compiled: Any) -> int:
    """Peak of one device while a compiled program (`jitted.lower(...).compile()`) runs, arguments and results included.

    Results that take the place of donated arguments count once.
    """
    sizes = compiled.memory_analysis()
    return int(
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
        + sizes.generated_code_size_in_bytes
    )


def limit_bytes() -> int:
    """What one device of this process may take.

    GPU: what JAX may allocate. CPU: `CPU_SHARE` of the memory that is free on the machine and in the process's control
    group, shared among the devices of the process.
    """
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return int(free_bytes() * CPU_SHARE) // jax.local_device_count()


def capacity_bytes() -> int:
    """As limit_bytes, but of the whole memory, used or not: the same at every start on one machine."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    whole = min(psutil.virtual_memory().total, control_group_bytes(free=False))
    return int(whole * CPU_SHARE) // jax.local_device_count()


def free_bytes() -> float:
    """What this process may still allocate: of the machine, its control group and its address space (ulimit -v)."""
    own = math.inf
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        own = max(limit - psutil.Process().memory_info().vms, 0)
    return min(psutil.virtual_memory().available, control_group_bytes(), own)


def check_free(needed: float, path: str) -> None:
    """InputError (kind "unreadable") naming a file that takes more bytes of memory to read than are free."""
    if needed < _ALWAYS_THERE:
        return
    free = free_bytes()
    if needed > free:
        raise InputError(
            f"{path} takes about {needed / GIB:.1f} GiB of memory to read, {free / GIB:.1f} GiB are free; its header "
            "may be damaged: remove the scan, or read it where there is more memory",
            "unreadable",
        )


def control_group_bytes(
    membership: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup"), free: bool = True
) -> float:
    """Limit, less use if `free`, of the tightest memory control group (version 1 or 2) here; infinity without one.

    Batch systems and containers limit memory so. Cached files, which make way, do not count as used.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    found = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, use, cached = mounts, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, use = mounts / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            found = min(found, _bytes_in(folder, limit, use, cached, free))
            if folder == root:
                break
    return found


def _bytes_in(folder: Path, limit: str, use: str, cached: str, free: bool) -> float:
    """Inside a container `folder` may not be there: the groups above it are."""
    try:
        most = int((folder / limit).read_text())
        used = int((folder / use).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return math.inf
    if most >= _UNLIMITED:
        return math.inf
    return max(most - used + int(stat.get(cached, 0)), 0) if free else most


def largest_batch(predict: Callable[[int], int], batch_size: int, limit: int) -> int:
    """The largest batch up to `batch_size` whose predicted bytes are within `limit`; 0 when not even one image fits.

    `predict` compiles, so it is called rarely: the next size to try lies on the line through the two nearest known
    ones, and in the middle when that has not ended after some turns. Larger batches must take more.
    """
    known = {batch_size: predict(batch_size)}
    if known[batch_size] <= limit or batch_size == 1:
        return batch_size if known[batch_size] <= limit else 0
    known[1] = predict(1)
    if known[1] > limit:
        return 0
    fits, too_large, turns = 1, batch_size, 0
    while too_large - fits > 1:
        per_image = (known[too_large] - known[fits]) / (too_large - fits)
        on_line = fits + max(int((limit - known[fits]) / per_image), 1)  # below too_large, which is above the limit
        guess = on_line if turns < 4 else (fits + too_large) // 2
        known[guess] = predict(guess)
        fits, too_large = (guess, too_large) if known[guess] <= limit else (fits, guess)
        turns += 1
    return fits


def check_fits(predict: Callable[[int], int], batch_size: int, limit: int, what: str) -> None:
    """InputError naming the largest batch that fits, when `batch_size` takes more than `limit` bytes.

    `predict` gives the peak bytes of a batch size from shapes alone, allocating nothing; `what` is the setting, such as
    config.pretrain.batch_size.
    """
    needed = predict(batch_size)
    if needed <= limit:
        return
    most = largest_batch(lambda size: needed if size == batch_size else predict(size), batch_size, limit)
    remedy = f"the largest that fits is {most}"
    if most == 0:
        remedy = "not even 1 fits; use fewer filters (config.model.filters) or smaller images (config.data.image_size)"
    raise InputError(
        f"{what}: got {batch_size}, which needs {needed / GIB:.2f} GiB of memory where {limit / GIB:.2f} GiB can be "
        f"used; {remedy}"
    )
