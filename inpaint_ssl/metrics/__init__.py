"""Measurements on segmentations; NumPy only."""

from inpaint_ssl.metrics.overlap import cv, dice, voe

__all__ = ["cv", "dice", "voe"]
