"""Which format a folder is in."""

from pathlib import Path

from inpaint_ssl.data.readers.dataset_json import json_format
from inpaint_ssl.data.readers.folder import is_named_as_label
from inpaint_ssl.data.readers.layouts import ENDINGS, files_beneath
from inpaint_ssl.data.readers.skm_tea import looks_like_skm_tea
from inpaint_ssl.errors import InputError


def detect_format(folder: Path) -> str:
    """ "msd", "nnunet", "skm_tea", "nifti" or "dicom"; InputError saying what was looked for.

    DICOM files whose labels are in NIfTI are "dicom"; any NIfTI file that is not named as a label makes it "nifti".
    """
    if (folder / "dataset.json").is_file():
        return json_format(folder)
    if looks_like_skm_tea(folder):
        return "skm_tea"
    nifti = [path for path in files_beneath(folder) if path.name.endswith(ENDINGS)]
    if all(is_named_as_label(path.relative_to(folder)) for path in nifti):
        from inpaint_ssl.data.readers.dicom.files import looks_like_dicom

        if looks_like_dicom(folder):
            return "dicom"
    if nifti:
        return "nifti"
    found = "other files" if any(folder.iterdir()) else "an empty folder"
    raise InputError(
        f"no data set in {folder} ({found}); looked for dataset.json (MSD, nnU-Net v2), image_files and "
        "annotations (SKM-TEA), NIfTI (.nii.gz, .nii) and DICOM files; give the folder that holds them"
    )
