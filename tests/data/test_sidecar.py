"""The JSON file beside a NIfTI image."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_sets import AFFINE, SHAPE, random_image, save

from inpaint_ssl.data import ReaderSettings, open_dataset
from inpaint_ssl.errors import InputError
from inpaint_ssl.qdess import QdessSequence

BIDS = {"RepetitionTime": 0.0185, "EchoTime": 0.006, "FlipAngle": 20, "Manufacturer": "GE", "PatientName": "Doe"}
SPOILER = {"spoiler_area": 3132.0, "spoiler_duration_us": 1560.0}


def read(folder: Path):
    reader = open_dataset(ReaderSettings(format="nifti", root=str(folder)))
    (entry,) = reader.entries
    return reader.read(entry), reader.sources(entry)


def test_bids_keys_become_milliseconds(tmp_path: Path) -> None:
    save(tmp_path / "knee.nii.gz", random_image(0, SHAPE))
    assert read(tmp_path)[0].acquisition == {}
    (tmp_path / "knee.json").write_text(json.dumps({**BIDS, **SPOILER}))
    scan, sources = read(tmp_path)
    assert dict(scan.acquisition) == pytest.approx({"tr_ms": 18.5, "te_ms": 6.0, "flip_angle_deg": 20.0, **SPOILER})
    assert str(tmp_path / "knee.json") in sources
    assert QdessSequence.from_acquisition(scan.acquisition).tr_ms == pytest.approx(18.5)


def test_of_several_channels_that_of_the_first_or_of_the_case(tmp_path: Path) -> None:
    for case in ("a", "b"):
        for channel in range(2):
            nib.save(nib.Nifti1Image(random_image(channel, SHAPE), AFFINE), tmp_path / f"{case}_{channel:04d}.nii")
    (tmp_path / "a_0000.json").write_text(json.dumps({"EchoTime": 0.005}))
    (tmp_path / "a_0001.json").write_text(json.dumps({"EchoTime": 0.03}))
    (tmp_path / "b.json").write_text(json.dumps({"te_ms": 7}))
    reader = open_dataset(ReaderSettings(format="nifti", root=str(tmp_path)))
    assert [reader.read(entry).acquisition["te_ms"] for entry in reader.entries] == pytest.approx([5.0, 7.0])


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    save(tmp_path / "knee.nii.gz", np.asarray(random_image(0, SHAPE)))
    (tmp_path / "knee.json").write_text("{")
    with pytest.raises(InputError, match=r"knee.json is not valid JSON .* or remove it"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["[1]", '{"EchoTime": "short", "FlipAngle": true, "RepetitionTime": NaN}', "7"])
def test_what_says_nothing_of_the_acquisition_is_passed_over(tmp_path: Path, text: str) -> None:
    save(tmp_path / "knee.nii.gz", np.asarray(random_image(0, SHAPE)))
    (tmp_path / "knee.json").write_text(text)
    assert read(tmp_path)[0].acquisition == {}
