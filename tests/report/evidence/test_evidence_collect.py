"""Collecting: what is kept of a study, and that no place travels with it."""

import csv
import gzip
import io
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from evidence_runs import PRIMARY, Runs

from experiments.results import main, parse
from inpaint_ssl.errors import InputError
from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.evidence.anonymous import without_paths
from inpaint_ssl.report.evidence.collect import collect

MACHINE = {"processor": "A processor", "cores": 2}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_study_becomes_a_small_folder(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    path = runs.write()
    os.utime(path / runs.cells()[-1]["directory"] / "result.json", (2e9, 2e9))
    said = collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    assert len(said) == 1 and said[0].startswith("hippocampus_tuning: 19 of 19 runs complete, ")
    folder = tmp_path / "evidence" / "hippocampus_tuning"
    assert sorted(p.name for p in folder.iterdir()) == sorted(files.FILES)

    kept = list(csv.DictReader(io.StringIO(gzip.decompress((folder / "per_scan.csv.gz").read_bytes()).decode())))
    whole = [{k: str(v) for k, v in row.items() if k not in ("study", "dataset")} for row in runs.rows()]
    assert kept == [row for row in whole if row["metric"] != "voe"]
    assert files.unpacked_rows(folder / "per_scan.csv.gz") == kept

    norms = list(csv.DictReader(io.StringIO((folder / "restoration.csv").read_text())))
    assert {(row["arm"], row["slices"], float(row["mean"])) for row in norms} == {
        (arm, "2", 10.0) for arm in ("k8", "k16", "k4")
    }
    curves = list(csv.DictReader(io.StringIO((folder / "curves.csv").read_text())))
    assert len(curves) == 2 * 19 and {row["validation_loss"] for row in curves} == {"0.25", "0.2"}
    about = json.loads((folder / "environment.json").read_text())
    assert (about["processor"], about["cores"], about["finished"]) == ("A processor", 2, "2033-05-18")
    assert about["seconds"] == 60.0 * 19 and len(about["seconds_of_runs"]) == 19
    assert about["sha256"] == {"SHA-256 of the data": "cd" * 32}
    assert (folder / "splits.json").read_bytes() == (path / "splits.json").read_bytes()


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    Runs(tmp_path / "runs").write()
    collect(tmp_path / "runs", tmp_path / "one", MACHINE)
    shutil.copytree(tmp_path / "runs", tmp_path / "elsewhere" / "deeper")
    collect(tmp_path / "elsewhere" / "deeper", tmp_path / "two", MACHINE)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    packed = (tmp_path / "one" / "hippocampus_tuning" / "per_scan.csv.gz").read_bytes()
    assert packed[4:8] == bytes(4) and not packed[3] & 8  # no time, no name


def test_no_place_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slash, host = "/", "some-machine"
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    secret = f"{slash}home{slash}somebody{slash}data"
    settings = {"data.root": secret, "data.prepared": secret, "study.from": (secret,), "split.file": f"{secret}/s.json"}
    settings |= {"slurm.account": "somebody", "distributed.coordinator": "some-host:8000"}
    settings |= {"engine.compilation_cache": secret}
    extra = {"from": [secret], "warnings": [f"read {secret}/x.nii.gz on {host}"]}
    runs = Runs(tmp_path / "runs", settings=settings, extra=extra, failed={("k8", 0.05, 1): f"no file {secret}/a b"})
    path = runs.write()
    (path / "splits.json").write_text(json.dumps({"settings": {"file": f"{secret}/s.json"}}))
    collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    folder = tmp_path / "evidence" / "hippocampus_tuning"
    unpacked = gzip.decompress((folder / "per_scan.csv.gz").read_bytes()).decode()
    text = unpacked + "".join(p.read_text(encoding="utf-8") for p in folder.iterdir() if p.suffix != ".gz")
    for word in ("somebody", "some-host", host, str(tmp_path), str(Path.home()) + slash):
        assert word not in text, word
    study, config = (json.loads((folder / name).read_text()) for name in ("study.json", "config.json"))
    assert study["settings"]["data.root"] == "''" and study["settings"]["study.from"] == "()"
    assert study["settings"]["engine.compilation_cache"] == "'auto'" and study["settings"]["slurm.jobs"] == "4"
    assert config["data"]["root"] == "" and config["study"]["from"] == [] and config["split"]["file"] == ""
    assert study["settings"]["finetune.max_steps"] == "2500" and config["finetune"]["max_steps"] == 2500
    assert "no file <path> b" in str(study["cells"]) and study["from"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /data/set one/x", "see <path> one/x"),
        ("~/cache and ./runs/x", "<path> and ./runs/x"),
        ("anterior/posterior, images/s, .8975 / .8807, runs/x", "anterior/posterior, images/s, .8975 / .8807, runs/x"),
        ("https://doi.org/10.1/x", "https://doi.org/10.1/x"),
        ("on a-host.net, ghost", "on <host>.net, ghost"),
    ],
)
def test_paths_in_texts(text: str, expected: str) -> None:
    assert without_paths([{"a": text}], host="a-host") == [{"a": expected}]


def test_fewer_complete_runs_do_not_replace_more(tmp_path: Path) -> None:
    Runs(tmp_path / "runs", subjects=2).write()
    collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    before = bytes_of(tmp_path / "evidence")
    Runs(tmp_path / "runs", subjects=2, missing=[("k8", 0.05, 1)]).write()
    with pytest.raises(InputError, match=r"18 runs are complete, and 19 .* --force"):
        collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    assert bytes_of(tmp_path / "evidence") == before
    assert "18 of 19" in collect(tmp_path / "runs", tmp_path / "evidence", MACHINE, force=True)[0]
    Runs(tmp_path / "runs", subjects=2).write()
    assert "19 of 19" in collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)[0]


def test_what_is_too_large_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Runs(tmp_path / "runs", subjects=2).write()
    Runs(tmp_path / "runs", "hippocampus_primary", arms=PRIMARY, subjects=2).write()
    collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    size = files.size_of(tmp_path / "evidence")
    monkeypatch.setattr(files, "LIMIT", size + 1)
    collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)  # replaced files do not count twice
    monkeypatch.setattr(files, "LIMIT", size)
    with pytest.raises(InputError, match=f"{size:,} bytes, expected fewer than {size:,}"):
        collect(tmp_path / "runs", tmp_path / "other", MACHINE)
    assert not (tmp_path / "other").exists()


def test_other_folders_are_passed_over_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    (tmp_path / "runs" / "prepared").mkdir(parents=True)
    with pytest.raises(InputError, match="has no folder <data set>"):
        collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    path = Runs(tmp_path / "runs").write()
    shutil.copytree(path, tmp_path / "runs" / "hippocampus")
    (tmp_path / "runs" / "hippocampus_primary").mkdir()
    said = collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)
    assert said[0].startswith("hippocampus: passed over, its name") and said[-1].startswith("hippocampus_tuning: ")
    assert said[1].startswith("hippocampus_primary: passed over, it has no study.json yet") and len(said) == 3
    study = json.loads((path / "study.json").read_text()) | {"kind": "comparison"}
    (path / "study.json").write_text(json.dumps(study))
    with pytest.raises(InputError, match='none of a study of kind "arms"'):
        collect(tmp_path / "runs", tmp_path / "evidence", MACHINE)


def test_names_of_folders() -> None:
    assert files.name_of("headneck_ct_primary") == files.Name("headneck_ct", "primary")
    assert files.name_of("hippocampus_tuning_large_net") == files.Name("hippocampus", "tuning", "large_net")
    assert files.name_of("hippocampus") is None and files.name_of("hippocampus_primarily") is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Runs(tmp_path / "runs").write()
    words = [f"--from={tmp_path / 'runs'}", f"--evidence={tmp_path / 'evidence'}"]
    assert main(["experiments.results", "collect", *words, "--elsewhere"]) == 0
    assert json.loads((tmp_path / "evidence/hippocampus_tuning/environment.json").read_text())["processor"] == ""
    assert main(["experiments.results", "collect", *words, "--force"]) == 0
    assert json.loads((tmp_path / "evidence/hippocampus_tuning/environment.json").read_text())["processor"]
    output = tmp_path / "RESULTS.md"
    assert main(["experiments.results", "write", words[1], f"--output={output}"]) == 0
    assert output.read_text(encoding="utf-8").startswith("# Results")
    assert main(["experiments.results", "collect"]) == 2
    assert "no --from given" in capsys.readouterr().err
    for argv in ([], ["collekt"], ["--from=x"]):
        with pytest.raises(InputError, match=r"expected collect --from"):
            parse(["experiments.results", *argv])
