"""What a bundle says about itself: model.json, README.md, the run's settings without places and ids, the citation."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from inpaint_ssl.bundle.archive import FORMAT_VERSION, NETWORK
from inpaint_ssl.bundle.card import MetricsCard
from inpaint_ssl.bundle.export import signature
from inpaint_ssl.colours import colour_of
from inpaint_ssl.postprocess import OFF
from inpaint_ssl.trained.record import ModelRecord

_FEW = 10  # subjects; below, BCa intervals cover less than they say
CITATION = {
    "method": (
        "Dominic J, Bhaskhar N, Desai AD, Schmidt A, Rubin E, Gunel B, Gold GE, Hargreaves BA, Lenchik L, Boutin R, "
        "Chaudhari AS. Improving Data-Efficiency and Robustness of Medical Imaging Segmentation Using Inpainting-Based "
        "Self-Supervised Learning. Bioengineering 2023, 10(2), 207. doi:10.3390/bioengineering10020207 (preprint: "
        "Data-Limited Tissue Segmentation using Inpainting-Based Self-Supervised Learning, 2022, arXiv:2210.07936)"
    ),
    "software": "The inpaint_ssl authors. inpaint_ssl, version {version}: CITATION.cff.",
}


def config_json(config: Mapping[str, Any]) -> bytes:
    """config.json of the bundle, which inpaint_ssl.config.load reads."""
    return (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def citation_file() -> bytes:
    """CITATION.cff of this software, with the paper whose method it implements."""
    return resources.files("inpaint_ssl.bundle").joinpath("citation.cff").read_bytes()


def model_json(record: ModelRecord, card: MetricsCard | None, members: Mapping[str, Any]) -> bytes:
    """model.json: the record, labels with values and colours, card, citation, signature, and the other members."""
    labels = [
        {"name": name, "value": value, "members": list(of), "colour": colour_of(index)}
        for index, (name, value, of) in enumerate(
            zip(record.classes.names, record.values, record.classes.members, strict=True)
        )
    ]
    version = record.versions.get("inpaint_ssl", "")
    content = {
        "format": "inpaint_ssl bundle",
        "format_version": FORMAT_VERSION,
        "record": record.to_dict(),
        "labels": labels,
        "card": None if card is None else card.to_dict(),
        "citation": {name: text.format(version=version) for name, text in CITATION.items()},
        "network": signature(record).to_dict(),
        "members": dict(members),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def readme(record: ModelRecord, card: MetricsCard | None) -> bytes:
    """README.md: what the model is, how to use it, how well it did, whom to cite. Markdown, UTF-8."""
    parts = [_about(record), _usage(record), _stablehlo(record), _card(card), _citation(record)]
    return ("\n\n".join(parts) + "\n").encode("utf-8")


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _about(record: ModelRecord) -> str:
    how, on = record.preprocessing, record.trained_on
    height, width = how.image_size
    task = "segments" if record.task == "segmentation" else "restores corrupted slices (a pretraining) of"
    spacing = " x ".join(f"{mm:g}" for mm in how.target_spacing_mm)
    lines = [
        f"# {_cell(record.study)}: a model that {task} {how.modality.upper()} scans",
        "**Not a medical device.** For research; whoever uses it for patients answers for it. Look at every mask.",
        f"- Trained on {on.scans} scans of {on.subjects} subjects, those of pretraining included; data set "
        + _cell(record.dataset)
        + (f", labels of {100 * record.label_fraction:g} % of the training subjects" if record.label_fraction else "")
        + f"; arm {_cell(record.arm) or 'pretraining'}, seed {record.seed}",
        f"- Channels of a scan, in this order: {_cell(', '.join(record.scan_channels))}",
        f"- {how.slice_axis} slices in images of {height} x {width} pixels"
        + (f", resampled to {spacing} mm" if spacing else ", at the spacing that they have"),
        f"- U-Net with filters {', '.join(map(str, record.filters))}; trained in {record.compute_dtype}",
        f"- Fingerprint of the training data (SHA-256): {record.data_sha256}",
    ]
    text = f"{lines[0]}\n\n{lines[1]}\n\n" + "\n".join(lines[2:])
    if record.task != "segmentation":
        return text
    rows = [(name, value, colour_of(k)) for k, (name, value) in enumerate(record.labels.items())]
    probability = f"A pixel belongs to the class of the largest probability, if that reaches {record.threshold:g}."
    choice = record.clinical.get("intramuscular_fat", OFF)
    if choice != OFF:
        probability += f" Muscle whose HU are those of fat ({choice}) then becomes intramuscular fat."
    return f"{text}\n\n## Classes\n\n{_table(('class', 'value in masks', 'colour'), rows)}\n\n{probability}"


def _usage(record: ModelRecord) -> str:
    if record.task != "segmentation":
        return (
            "## Use\n\nIt starts a fine-tuning on another data set:\n\n```\n"
            "python -m experiments.main --config=configs/<file>.py --config.transfer.pretrained=model.zip\n```"
        )
    channels = len(record.scan_channels)
    shape = "(X, Y, Z)" if channels == 1 else f"(X, Y, Z, {channels})"
    values = "HU" if record.preprocessing.modality == "ct" else "stored values"
    return f"""## Use

Masks, measurements and pictures of NIfTI files and DICOM series:

```
python -m experiments.predict --model=model.zip --input=<file or folder> --output=<folder>
```

In Python, of an array {shape} of {values}:

```python
import nibabel
import inpaint_ssl

bundle = inpaint_ssl.load_bundle("model.zip")
image = nibabel.load("scan.nii.gz")
mask = bundle.segment(image.get_fdata(), affine=image.affine)
```

The mask has the grid of the array and the values above. Orientation, normalisation and padding are taken care of."""


def _stablehlo(record: ModelRecord) -> str:
    of = signature(record)
    rows = [(one.name, _shape(one.shape), one.dtype, one.meaning) for one in (*of.inputs, of.output)]
    arguments = ", ".join(one.name for one in of.inputs)
    margin = (
        "Pixels of the margin hold NaN; the rest is scored as one image. (-1024 HU there would count as air.)"
        if record.preprocessing.modality == "ct"
        else "Pixels of the margin hold the smallest value of the scan; mean and standard deviation are those of the "
        "whole scan."
    )
    height, width = record.preprocessing.image_size
    directions = {
        "sagittal": "rows run from superior to inferior, columns from anterior to posterior",
        "coronal": "rows run from superior to inferior, columns from the patient's right to left",
        "axial": "rows run from anterior to posterior, columns from the patient's right to left",
    }[record.preprocessing.slice_axis]
    return f"""## {NETWORK}

The network with its weights as StableHLO for CPU and CUDA, computed in float32, from raw slices on. `b` is any number
of slices. The last row is the result.

{_table(("argument", "shape", "type", "meaning"), rows)}

Slices lie in the middle of {height} x {width} pixels (the smaller half of an odd margin comes first); {directions}.
{margin} Slices larger than that, resampling and other orientations are left to the caller.

```python
import zipfile
import jax
from jax import export  # needs the package flatbuffers

content = zipfile.ZipFile("model.zip").read("{NETWORK}")
network = jax.jit(export.deserialize(bytearray(content)).call)
{of.output.name} = network({arguments})
```"""


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _card(card: MetricsCard | None) -> str:
    if card is None:
        return "## Metrics\n\nThe run was not evaluated, so nothing is known of its accuracy."
    rows = [(one.name, *map(_number, (one.mean, one.lower, one.upper)), one.subjects) for one in card.scores]
    name = "Dice" if card.metric == "dice" else "L2 norm of the difference between restored and original slice"
    per_cent = f"{100 * card.level:g} %"
    few = f"Intervals of fewer than {_FEW} subjects are too narrow.\n\n" if card.subjects < _FEW else ""
    columns = ("class" if card.metric == "dice" else "channel", "mean", f"{per_cent} from", "to", "subjects")
    return (
        f"## Metrics\n\n{name} ({card.unit}) on {card.scans} {card.part} scans of {card.subjects} subjects of "
        f"{_cell(card.dataset)}, which the weights never saw; {per_cent} intervals (BCa bootstrap over subjects).\n\n"
        f"{_table(columns, rows)}\n\n{few}Splits (SHA-256): {card.splits_sha256}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _citation(record: ModelRecord) -> str:
    software = CITATION["software"].format(version=record.versions.get("inpaint_ssl", ""))
    return f"## Citation\n\n- Method: {CITATION['method']}\n- Software: {software}"
