"""The files of a collected study: their names, and rows as gzip that equal rows make equal."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inpaint_ssl.errors import InputError

STUDY, CONFIG, SPLITS, ENVIRONMENT = "study.json", "config.json", "splits.json", "environment.json"
SCANS, RESTORATION, CURVES = "per_scan.csv.gz", "restoration.csv", "curves.csv"
FILES = (STUDY, CONFIG, SPLITS, ENVIRONMENT, SCANS, RESTORATION, CURVES)
FIGURES, NOTES = "figures", "notes.md"
LIMIT = 5_000_000  # bytes of all that is collected
RESTORATION_COLUMNS = ("arm", "seed", "split", "channel", "unit", "slices", "mean")
CURVE_COLUMNS = ("run", "phase", "arm", "label_fraction", "seed", "step", "validation_loss")
CONSTANT = ("study", "dataset")  # columns of per_scan.csv that study.json holds
SPARED = ("voe", "cv", "assd_mm")  # metrics that nothing is written up from

PARTS = ("tuning", "recipe", "primary", "extent", "best")
_NAME = re.compile(rf"(?P<data>[A-Za-z0-9_.-]+?)_(?P<part>{'|'.join(PARTS)})(?:_(?P<variant>[A-Za-z0-9_.-]+))?")


@dataclass(frozen=True)
class Name:
    """The folder of a study: <data set>_<part>, or <data set>_<part>_<variant>."""

    data: str
    part: str
    variant: str = ""

    @property
    def folder(self) -> str:
        """The name of the folder."""
        return "_".join(word for word in (self.data, self.part, self.variant) if word)

    @property
    def command(self) -> str:
        """The command that runs this study; <folder> is that of the data set."""
        spec = ",".join(word for word in (self.data, self.part, self.variant) if word)
        return (
            f"python -m experiments.main --config=configs/evidence.py:{spec} --config.data.root=<folder> "
            f"--workdir=runs/evidence/{self.folder}"
        )


def name_of(folder: str) -> Name | None:
    """The parts of a folder's name, or None where it is no study of the evidence."""
    found = _NAME.fullmatch(folder)
    return Name(found["data"], found["part"], found["variant"] or "") if found else None


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows with exactly these columns as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def packed(text: str) -> bytes:
    """UTF-8 text as gzip without name and time, so that equal texts give equal bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=9) as file:
        file.write(text.encode("utf-8"))
    return stream.getvalue()


def unpacked_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a gzipped CSV file, every value a string. InputError naming a file that is none."""
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); expected gzipped CSV; collect the study again") from None


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, 0 where there is none."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
