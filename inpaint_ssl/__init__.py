"""Self-supervised pretraining by inpainting, and whether it helps segmentation with few labels (Dominic et al.)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inpaint_ssl.bundle import load_bundle as load_bundle

__version__ = "0.1.0"
__all__ = ["__version__", "load_bundle"]


def __getattr__(name: str) -> Any:
    """load_bundle, imported when it is first asked for: it brings jax, which most of this package does without."""
    if name == "load_bundle":
        from inpaint_ssl.bundle import load_bundle

        return load_bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
