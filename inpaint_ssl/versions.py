"""Versions of the packages that decide results and speed."""

import platform
from importlib import metadata

from inpaint_ssl import __version__

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy"),
    *("nibabel", "pydicom", "h5py", "tensorflow-datasets"),
)


def versions() -> dict[str, str]:
    """Version of this package, of Python and of PACKAGES; imports none of them."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"inpaint_ssl": __version__, "python": platform.python_version(), **packages}
