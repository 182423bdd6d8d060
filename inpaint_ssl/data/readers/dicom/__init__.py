"""DICOM: folder trees of files sorted into series, each read as one scan.

files (finding), headers and series (what they say), geometry (where slices lie), pixels and values (decoding, HU), ids
(salted hashes), labels (NIfTI label files), listing (all series of a folder), reader (one scan), notes (left out).
"""

from inpaint_ssl.data.readers.dicom.files import looks_like_dicom
from inpaint_ssl.data.readers.dicom.reader import DicomDataset, open_dicom

__all__ = ["DicomDataset", "looks_like_dicom", "open_dicom"]
