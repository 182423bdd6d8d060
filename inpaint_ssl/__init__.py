"""Self-supervised pretraining by inpainting, and whether it helps segmentation with few labels (Dominic et al.)."""

__version__ = "0.1.0"
