"""What has to be set before JAX starts: the cache of compiled programs, and deterministic operations on a GPU."""

import ctypes
import logging
import os
import re
from pathlib import Path

import jax
from filelock import FileLock
from ml_collections import ConfigDict
from platformdirs import user_cache_dir

MAX_BYTES = 2 * 1024**3  # compressed programs; the least recently used ones go first
MIN_SECONDS = 0.1  # programs that compile faster are not worth a file
_LOCK_SECONDS = 10.0
_ENTRY = re.compile(r"(.+-[0-9a-f]{64})-(?:cache|atime)")  # of JAX's cache; other files are none of our business
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
# Each process times its own kernels: a process that finds its program in the cache would keep the others waiting.
_TUNE_APART = "--xla_gpu_shard_autotuning=false"
log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Let the C library keep memory that is freed, for what is allocated next; True where that could be set.

    XLA on a CPU allocates its buffers anew at every call, and glibc gives large freed blocks back to the system at
    once: touching fresh pages costs a fifth of a training step at 64 x 64 (BUILD_NOTES.md). Thresholds that the user
    has set (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES) stay.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt  # glibc alone has it
    except (AttributeError, OSError, TypeError):
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept) and any(mallopt(_M_MMAP_THRESHOLD, size) for size in (2**30, 2**25))  # older ones allow 32 MiB


def configure(config: ConfigDict) -> None:
    """Set up JAX by `config.engine.compilation_cache` and `config.deterministic`, and keep freed memory.

    Before its first computation, and in a run of several processes after jax.distributed is initialised.

    A cache folder that cannot be used is a warning in the log, and programs are compiled anew. With "auto" a folder in
    the environment variable JAX_COMPILATION_CACHE_DIR stays as it is.
    """
    keep_freed_memory()
    if config.deterministic:
        _add_xla_flag(_DETERMINISTIC)
    choice = config.engine.compilation_cache
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR", "") if choice == "auto" else ""
    if jax.distributed.is_initialized():
        _add_xla_flag(_TUNE_APART)
    if choice == "off":
        jax.config.update("jax_enable_compilation_cache", False)
    elif not own:
        default = Path(user_cache_dir("inpaint_ssl")) / "jax"
        _use_cache(default if choice == "auto" else Path(choice).expanduser())


def _add_xla_flag(flag: str) -> None:
    """Append to XLA_FLAGS, where the last of several settings of a flag wins."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*(f for f in flags if f != flag), flag])


def _use_cache(folder: Path) -> None:
    try:
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever writes here chooses what this program runs
        removed = _remove_unfinished(folder)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = " ".join(str(error).split()) or type(error).__name__
        log.warning("%s cannot keep compiled programs (%s); set config.engine.compilation_cache", folder, reason)
        return
    if removed:
        log.info("removed %d unfinished programs from %s", removed, folder)
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_raise_persistent_cache_errors", False)
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _remove_unfinished(folder: Path) -> int:
    """Remove what a killed process left of an entry, and return how many there were.

    JAX writes <key>-cache, then 8 bytes of <key>-atime, both under the lock .lockfile. It would neither replace half an
    entry nor, without its second file, add any other one.
    """
    removed = 0
    with FileLock(folder / ".lockfile", timeout=_LOCK_SECONDS):
        names = (_ENTRY.fullmatch(path.name) for path in folder.iterdir())
        for key in {name[1] for name in names if name}:
            program, used = folder / f"{key}-cache", folder / f"{key}-atime"
            if not (program.exists() and program.stat().st_size and used.exists() and used.stat().st_size == 8):
                program.unlink(missing_ok=True)
                used.unlink(missing_ok=True)
                removed += 1
    return removed
