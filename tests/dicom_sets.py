"""DICOM series written with pydicom, for tests of the reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from inpaint_ssl.data.readers import ReaderSettings
from inpaint_ssl.data.readers.dicom.reader import DicomDataset, open_dicom
from inpaint_ssl.errors import Problems

CT, MR = UID("1.2.840.10008.5.1.4.1.1.2"), UID("1.2.840.10008.5.1.4.1.1.4")
ENHANCED_CT, ENHANCED_MR = UID(f"{CT}.1"), UID(f"{MR}.1")
MODALITY = {CT: "CT", ENHANCED_CT: "CT", MR: "MR", ENHANCED_MR: "MR"}
UID_ROOT = "1.2.826.0.1.3680043.8.498"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROWS, COLUMNS, SLICES = 6, 5, 4


def volume(seed: int, low: int = 0, high: int = 4096, shape: tuple[int, ...] = (SLICES, ROWS, COLUMNS)) -> np.ndarray:
    """Stored values (slices, rows, columns)."""
    return np.random.default_rng(seed).integers(low, high, shape)


def image(pixels: np.ndarray, kind: UID = CT, **tags: Any) -> Dataset:
    """An image object of stored values (rows, columns) or (frames, rows, columns); a tag of None is left out."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = kind, UID(f"{UID_ROOT}.9.{abs(hash(pixels.tobytes())) % 10**12}")
    ds.Modality = MODALITY.get(kind, "OT")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Miller^Anna Maria", "QX-4711", "19610203"
    ds.AccessionNumber = "ACC998877"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{UID_ROOT}.1", f"{UID_ROOT}.1.1"
    ds.SeriesNumber = 3
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    if MODALITY.get(kind) == "CT":
        ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    for keyword, value in tags.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    container = {8: "u1", 16: "<u2", 32: "<u4"}[ds.BitsAllocated]
    ds.PixelData = pixels.astype(np.int64).astype(container).tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    return ds


def save(ds: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a file, compressed where the syntax says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_encapsulated else syntax
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    little = ds.file_meta.TransferSyntaxUID.is_little_endian
    if not little:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def transcoded(path: Path, syntax: Any) -> None:
    """Compress a file by gdcm, for syntaxes that pydicom does not write."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def positions(
    n: int, orientation: Sequence[float] = AXIAL, origin: Sequence[float] = (-20.0, -30.0, 40.0), spacing: float = 2.5
) -> np.ndarray:
    """ImagePositionPatient of `n` evenly spaced slices, along the normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(origin) + spacing * np.arange(n)[:, None] * normal


def write_series(
    folder: Path,
    pixels: np.ndarray,
    kind: UID = CT,
    orientation: Sequence[float] = AXIAL,
    places: np.ndarray | None = None,
    syntax: UID = ExplicitVRLittleEndian,
    name: str = "image{:03d}.dcm",
    **tags: Any,
) -> list[Path]:
    """One file per slice of (slices, rows, columns), named against the order of slices."""
    places = positions(len(pixels), orientation) if places is None else places
    paths = []
    for k, (slice_pixels, place) in enumerate(zip(pixels, places, strict=True)):
        own = {
            "ImagePositionPatient": [float(x) for x in place],
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [0.75, 0.5],
            "SliceThickness": 9,
            "InstanceNumber": k + 1,
        } | tags
        ds = image(slice_pixels, kind, **own)
        ds.SOPInstanceUID = f"{UID_ROOT}.2.{len(paths) + 1}"
        paths.append(save(ds, folder / name.format(len(pixels) - k), syntax))
    return paths


def item(**tags: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(
    pixels: np.ndarray, kind: UID, places: np.ndarray, orientation: Sequence[float] = AXIAL, **tags: Any
) -> Dataset:
    """An enhanced multi-frame object: frame by frame a place, the rest shared."""
    ds = image(pixels, kind, NumberOfFrames=len(pixels), RescaleSlope=None, RescaleIntercept=None, **tags)
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SliceThickness=9)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[float(x) for x in place])]) for place in places
    ]
    return ds


def settings(salt: Path, **changes: Any) -> ReaderSettings:
    """Settings with a salt file of the test's own."""
    return ReaderSettings(**({"format": "dicom", "modality": "ct", "id_salt_file": str(salt)} | changes))


def open_at(root: Path, problems: Problems | None = None, **changes: Any) -> DicomDataset:
    """Open a folder, the salt beside it."""
    return open_dicom(root, settings(root.parent / "salt", **changes), problems or Problems())


def as_read(values: np.ndarray) -> np.ndarray:
    """Values (slices, rows, columns) of an axial series as the image (X, Y, Z, 1) in RAS."""
    return values.transpose(2, 1, 0)[::-1, ::-1, :, None]
