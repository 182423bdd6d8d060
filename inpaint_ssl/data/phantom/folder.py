"""A folder that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inpaint_ssl.errors import InputError


def _check_new(root: Path) -> None:
    """Raise InputError when `root` is neither new nor an empty folder."""
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise InputError(f"{root} exists already and is not empty; choose another folder, or remove it")


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """A temporary folder beside `root`, which takes its name at the end, or is removed when something is raised.

    Raises InputError when `root` is neither new nor an empty folder.
    """
    _check_new(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        yield folder
        os.chmod(folder, 0o755)  # mkdtemp makes folders private
        if root.exists():
            root.rmdir()
        os.rename(folder, root)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
