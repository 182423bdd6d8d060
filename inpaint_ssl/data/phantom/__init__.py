"""Generated scans with known truth."""

from inpaint_ssl.data.phantom.knee import PhantomDataset, PhantomTruth

__all__ = ["PhantomDataset", "PhantomTruth"]
