"""index.html of a prediction: what it says, that it trusts no text, and how a browser shows it."""

import html
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from example_prediction import failed_record, model_about, row, scan_record
from matplotlib.image import imread

from inpaint_ssl.predict.overlay import overlay_picture
from inpaint_ssl.predict.page import headline, write_index

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


def about(*models: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {"batch_size": 16, "flips": ["rows"], "probabilities": False}
    return {"models": [*(models or (model_about(),))], "settings": settings} | changes


def page_of(folder: Path, records: list[dict[str, Any]], **changes: Any) -> str:
    path = write_index(folder, about(**changes), records)
    assert path == folder / "index.html"
    return path.read_text(encoding="utf-8")


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def table_rows(page: str) -> list[list[str]]:
    """The cells' words of every scan."""
    body = re.search(r'<table class="view scans.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr>(.*?)</tr>", body.group(1), re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", one, re.DOTALL)] for one in rows]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "0 scans segmented."),
        ([scan_record("a")], "1 scan segmented."),
        (
            [scan_record("a", warnings=["x", "y"]), failed_record("b", "")],
            "1 scan segmented, 1 failed, 1 with warnings.",
        ),
        ([scan_record(str(k)) for k in range(1200)], "1,200 scans segmented."),
    ],
)
def test_headline(records: list[dict[str, Any]], expected: str) -> None:
    assert headline(records) == expected


def test_what_is_said_of_scans(tmp_path: Path) -> None:
    records = [
        scan_record("first", dicom_seg="masks/first.dcm", disagreement=0.1234),
        scan_record(
            "second",
            warnings=["pixel spacing along x is 0.40 mm, training scans had 0.94 to 1.00 mm (32 scans)"],
            measurements=[
                row("right_parotid", "volume_mm3", 0.0, "empty_prediction"),
                row("right_parotid", "mean_hu", None, "empty_prediction"),
                row("brainstem", "volume_mm3", 123456.0, "touches_border"),
                row("brainstem", "mean_hu", -41.26),
            ],
        ),
        failed_record("third", "third.nii.gz is cut short; copy it again"),
    ]
    page = page_of(tmp_path, records)
    first, second = table_rows(page)
    assert first[0] == "first 64 x 64 x 31 voxels (LPS), 0.977 x 0.977 x 3 mm mask DICOM"
    # ml and HU of three classes, by hand: 25.43 ml, and a half and a third of it.
    assert first[1:] == ["touches border visceral_fat", "25.4", "30.0", "12.7", "−25.0", "8.48", "−80.0", "0.123"]
    assert second[1].startswith("pixel spacing along x is 0.40 mm")
    assert second[1].endswith("nothing found right_parotid touches border brainstem")
    assert second[2:] == ["0.00", "–", "123", "−41.3", "–", "–", "–"]
    shown = words(page)
    assert "third third.nii.gz third.nii.gz is cut short; copy it again" in shown
    assert "2 scans segmented, 1 failed, 1 with warnings." in shown
    assert "nothing found the class is nowhere in the scan" in shown and "T2" not in shown
    assert "Masks in DICOM carry the name and id of the patient" in shown
    sorted_by = re.findall(r'<td class="number[^>]*data-value="([^"]*)"', page)
    assert sorted_by[0] == "25431.25" and sorted_by[6] == "0.1234" and sorted_by[8] == ""


@pytest.mark.parametrize("hash_ids", [True, False])
def test_hashes_are_claimed_only_where_they_are_used(tmp_path: Path, hash_ids: bool) -> None:
    shown = words(page_of(tmp_path, [scan_record("a", dicom_seg="masks/a.dcm")], settings={"hash_ids": hash_ids}))
    assert "no other file" not in shown
    assert ("everything else here names scans of DICOM by hashes alone." in shown) == hash_ids


def test_what_is_said_of_models(tmp_path: Path) -> None:
    scores = [("average", 0.812, 0.74, 0.861), ("brainstem", 0.7, None, None)]
    card = {
        "metric": "dice", "part": "test", "dataset": "OpenKBP", "scans": 22, "subjects": 20, "level": 0.95,
        "scores": [{"name": n, "mean": m, "lower": a, "upper": b, "subjects": 20} for n, m, a, b in scores],
    }  # fmt: skip
    models = [model_about(card=card), model_about(name="second.zip", seed=1, arm="from_scratch")]
    page = words(page_of(tmp_path, [scan_record("a")], models=models, seconds=93.0, versions={"jax": "0.10.2"}))
    for said in (
        "Segmentation of new scans neck organs OpenKBP CT, axial, 64 x 64 pixels 2 models averaged 2 min",
        "trained on 32 scans of 30 subjects, pretraining included",
        "labels used 25 % of the training set",
        "start from scratch",
        "average 0.812 0.740 to 0.861 20 brainstem 0.700 – 20 On 22 test scans of 20 subjects of OpenKBP",
        "class value in masks right_parotid 1 brainstem 2 visceral_fat 3",
        "flips rows probabilities no",
        "jax 0.10.2",
    ):
        assert said in page, said


def test_scans_of_one_slice_have_areas(tmp_path: Path) -> None:
    page = page_of(tmp_path, [scan_record("a", slices=1)])
    assert "area (mm²)" in page and "volume (ml)" not in page and table_rows(page)[0][2] == "410"
    page = page_of(tmp_path, [scan_record("a", slices=1), scan_record("b")])
    assert "volume (ml)" in page and "area (mm²)" not in page


def test_nothing_segmented(tmp_path: Path) -> None:
    page = page_of(tmp_path, [failed_record("a", "damaged")], problems=["b.nii is no NIfTI file"])
    assert '<table class="view scans' not in page
    assert "a a.nii.gz damaged b.nii is no NIfTI file" in words(page)


def test_no_text_is_trusted(tmp_path: Path) -> None:
    record = scan_record(EVIL, warnings=[EVIL], source=EVIL, orientation=EVIL, mask=f"javascript:{EVIL}")
    record["measurements"] = [row(EVIL, "volume_mm3", 1.0, EVIL)]
    model = {**model_about(name=EVIL, study=EVIL, dataset=EVIL, arm=EVIL), "labels": {EVIL: 1}}
    changes = {"settings": {EVIL: EVIL}, "versions": {EVIL: EVIL}, "problems": [EVIL]}
    page = page_of(tmp_path, [record, failed_record(EVIL, EVIL)], models=[model], **changes)
    found = Tags()
    found.feed(page)
    assert found.tags.count("script") == 1 and found.tags.count("img") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not [value for name, value in found.attributes if name in ("href", "src") and "script:" in (value or "")]
    assert sum(EVIL in text for text in found.texts) >= 10  # as text, whole


class Tags(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_nothing_is_fetched_and_every_file_is_found(tmp_path: Path) -> None:
    names = ["plain", "with space", "50%20", "a/b", "ü#?&"]
    records = [scan_record(name, probabilities=[f"probabilities/{quote(name, safe='')}_a.nii.gz"]) for name in names]
    for record in records:
        for file in (record["mask"], record["overlay"], *record["probabilities"]):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
    (tmp_path / "measurements.csv").touch()
    page = page_of(tmp_path, records)
    addresses = {html.unescape(a) for a in re.findall(r'(?:href|src)="([^"]*)"', page)} - {"data:,"}
    assert len(addresses) == 2 * len(names) + 2 and not [a for a in addresses if ":" in a or a.startswith("/")]
    assert [a for a in addresses if not (tmp_path / unquote(a)).exists()] == []
    assert not re.search(r"https?://|url\(|@import", page)


def test_a_thousand_scans(tmp_path: Path) -> None:
    records = [scan_record(f"scan_{k:04d}", volume_mm3=float(k), warnings=["x"] * (k % 3)) for k in range(1000)]
    began = time.process_time()
    page = page_of(tmp_path, records)
    assert time.process_time() - began < 5 and len(page) < 2_500_000
    assert len(table_rows(page)) == 1000 and page.count('loading="lazy"') == 1000


MEASURE = """<script>
for (const image of document.images) image.loading = "eager";
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
const names = () => [...document.querySelectorAll("table.scans tbody tr")].map(r => r.cells[0].dataset.value);
const order = (heading, times) => {
  const button = [...document.querySelectorAll("table.scans button.sort")].find(b => b.textContent.startsWith(heading));
  for (let k = 0; k < times; k += 1) button.click();
  const found = names();
  for (let k = times; k < 3; k += 1) button.click();
  return found;
};
addEventListener("load", () => {
  parent.document.body.dataset.measured = JSON.stringify({
    width: innerWidth, page: document.documentElement.scrollWidth, headline: box(document.querySelector("h1")),
    pictures: [...document.images].map(e => [...box(e), e.naturalWidth]), before: names(),
    volume: order("volume", 1), falling: order("volume", 2), again: order("look again", 2), after: names(),
    table: [box(document.querySelector("table.scans"))[2], box(document.querySelector("table.scans").parentElement)[2]],
    swatches: [...document.querySelectorAll("table.classes .swatch")].map(e => getComputedStyle(e).backgroundColor)});
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser()
    folder = tmp_path_factory.mktemp("page")
    records = [
        scan_record("50%20 odd", 9000.0, disagreement=0.2),
        scan_record("b", 11000.0, warnings=["voxels along z are 9.0 mm, training scans had 2.5 to 3.0 mm (32 scans)"]),
        scan_record("c", 1000.0, disagreement=0.1),
    ]
    rng = np.random.default_rng(0)
    (folder / "overlays").mkdir()
    for record in records:
        image, labels = rng.normal(40, 90, (64, 64, 31, 1)), np.zeros((64, 64, 31), np.uint8)
        labels[20:40, 20:50, 4:28] = 1
        content = overlay_picture(image, labels, "axial", (1.0, 1.0, 3.0), ("right_parotid",), "ct")
        (folder / record["overlay"]).write_bytes(content)
    return write_index(folder, about(), [*records, failed_record("d", "cut short " * 40)])


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    shot = run_browser(page, width, f"--screenshot={tmp_path / 'shot.png'}")
    assert console_lines(shot) == []
    m = in_a_frame(page, width, MEASURE, page.parent)
    assert m["width"] == width and m["page"] <= width
    assert len(m["pictures"]) == 3
    for x, _, w, h, natural in m["pictures"]:
        assert natural > 600 and w >= 160 and h >= 55 and x >= 0 and x + w <= width
    assert m["before"] == m["after"] == ["50%20 odd", "b", "c"]
    assert m["volume"] == ["c", "50%20 odd", "b"] and m["falling"] == ["b", "50%20 odd", "c"]
    assert m["again"][0] == "b"
    assert m["table"][0] <= m["table"][1] + 1 if width == 1400 else m["table"][0] < 3 * width
    assert m["swatches"] == ["rgb(230, 159, 0)", "rgb(86, 180, 233)", "rgb(0, 158, 115)"]
    picture = imread(tmp_path / "shot.png")
    x, y, w, h = (round(v) for v in m["headline"])
    part = picture[y : y + h, x : x + w, :3]
    assert part.size and 0.005 < (abs(part - picture[3, 3, :3]).max(-1) > 0.2).mean() < 0.9
