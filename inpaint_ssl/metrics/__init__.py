"""Measurements on segmentations; NumPy only."""

from inpaint_ssl.metrics.clinical import (
    FLAGS,
    QUANTITIES,
    Quantity,
    area_mm2,
    flags,
    mean_hu,
    percent_error,
    slice_areas_mm2,
    touches_border,
    volume_mm3,
)
from inpaint_ssl.metrics.overlap import cv, dice, voe
from inpaint_ssl.metrics.surface import SurfaceDistances, surface_distances
from inpaint_ssl.metrics.t2 import MeanT2, QdessT2Map, T2Settings, qdess_t2_ms

__all__ = [
    "FLAGS",
    "QUANTITIES",
    "MeanT2",
    "QdessT2Map",
    "Quantity",
    "SurfaceDistances",
    "T2Settings",
    "area_mm2",
    "cv",
    "dice",
    "flags",
    "mean_hu",
    "percent_error",
    "qdess_t2_ms",
    "slice_areas_mm2",
    "surface_distances",
    "touches_border",
    "voe",
    "volume_mm3",
]
