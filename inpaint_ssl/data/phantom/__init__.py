"""Generated scans with known truth."""

from inpaint_ssl.data.phantom.abdomen import AbdomenPhantom, AbdomenTruth
from inpaint_ssl.data.phantom.abdomen_anatomy import AbdomenTissue
from inpaint_ssl.data.phantom.knee import PhantomDataset, PhantomTruth

__all__ = ["AbdomenPhantom", "AbdomenTissue", "AbdomenTruth", "PhantomDataset", "PhantomTruth"]
