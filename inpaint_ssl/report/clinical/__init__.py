"""The part of the report on what clinicians read off a segmentation: Figure 6, agreement, T2 maps, flags."""
