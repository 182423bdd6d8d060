"""Prepared data sets: every scan read once, kept as 2D slices in a tensorflow-datasets data set and a record a scan."""

from inpaint_ssl.data.store.layout import prepared_folder
from inpaint_ssl.data.store.prepare import prepare_store
from inpaint_ssl.data.store.read import PreparedStore, StoredSliceSource

__all__ = ["PreparedStore", "StoredSliceSource", "prepare_store", "prepared_folder"]
