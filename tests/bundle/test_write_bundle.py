"""Writing a bundle, and the command line that writes and compares one."""

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import bundled_run
import jax
import numpy as np
import pytest
import small_model
from safetensors.numpy import load

from configs import base
from experiments.bundle import main
from inpaint_ssl.bundle import load_bundle, write_bundle
from inpaint_ssl.bundle.archive import MEMBERS
from inpaint_ssl.bundle.card import card_of_run
from inpaint_ssl.bundle.describe import readme
from inpaint_ssl.colours import CLASS_COLOURS
from inpaint_ssl.config import flatten, resolve
from inpaint_ssl.config import load as load_config
from inpaint_ssl.config.places import PLACES, without_places
from inpaint_ssl.config.rules import RULES
from inpaint_ssl.data import ClassMap
from inpaint_ssl.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled_run.written(tmp_path_factory.mktemp("written"))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("task", ["mri", "ct", "inpainting"])
def test_no_id_and_no_place_is_in_it(folder: Path, task: str) -> None:
    found = members(folder / f"{task}.zip")
    assert list(found) == list(MEMBERS)
    of_run = b"".join(path.read_bytes() for path in sorted((folder / task).glob("*.*")))
    for word in bundled_run.CONSPICUOUS:
        assert word.encode() in of_run
        assert [name for name, content in found.items() if word.encode() in content] == []
    for word in (str(ROOT), str(folder), "/tmp/", "site-packages", '.py"'):
        assert [name for name, content in found.items() if word.encode() in content] == [], word


def test_members_say_what_the_run_is(folder: Path) -> None:
    found, model = members(folder / "mri.zip"), bundled_run.model_of("mri")
    about = json.loads(found["model.json"])
    assert about["record"] == json.loads(json.dumps(model.record.to_dict()))
    assert about["labels"] == [
        {"name": "bright", "value": 1, "members": [1], "colour": CLASS_COLOURS[0]},
        {"name": "dim", "value": 4, "members": [4], "colour": CLASS_COLOURS[1]},
    ]
    assert about["card"]["scores"][0]["name"] == "average" and about["card"]["splits_sha256"] == "1" * 64
    weights = load(found["weights.safetensors"])
    np.testing.assert_array_equal(
        weights["encoder/level_0/conv_0/kernel"], model.params["encoder"]["level_0"]["conv_0"]["kernel"]
    )
    assert len(weights) == len(jax.tree.leaves(model.params))
    assert found["CITATION.cff"] == (ROOT / "CITATION.cff").read_bytes()


def test_the_readme_is_about_this_model(folder: Path) -> None:
    text = members(folder / "ct.zip")["README.md"].decode()
    numbers = ("| bright | 1 |", "| dim | 4 |", "(b, 16, 16, 1)", "NaN", "BCa", "4 subjects", "fewer than 10 subj")
    for words in ("Not a medical device", *numbers, "Bioengineering"):
        assert words in text, words
    model = bundled_run.model_of("ct")
    many = card_of_run(folder / "ct", model.record.task, "x", "y")
    assert "too narrow" not in readme(model.record, replace(many, subjects=10)).decode()
    card = load_bundle(folder / "ct.zip").card
    assert f"| bright | {card.scores[1].mean:.4g} | {card.scores[1].lower:.4g} |" in text
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        ast.parse(block)
    restoring = members(folder / "inpainting.zip")["README.md"].decode()
    assert "--config.transfer.pretrained=model.zip" in restoring and "mask in" not in restoring
    assert "(b, 16, 16, 1) | float32 | the restored image" in restoring


def test_settings_are_kept_without_places(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(members(folder / "mri.zip")["config.json"])
    kept, run = load_config(tmp_path / "config.json"), load_config(folder / "mri" / "config.json")
    assert kept.model.filters == (4, 8) and kept.study.name == "a study" and kept.finetune == run.finetune
    assert (kept.data.root, kept.data.unlabelled_roots, kept.study["from"], kept.split.file) == ("", (), (), "")
    assert (kept.slurm.setup, kept.slurm.partition, kept.slurm.jobs) == ((), "", run.slurm.jobs)
    assert set(kept) == set(run) and set(kept.data) == set(run.data)
    with kept.unlocked():
        kept.data.format = "phantom"
    assert resolve(kept, base.get_config()).model.groups == 2
    assert without_places({"data": {"root": "x"}, "split": 3}) == {"data": {"root": ""}, "split": 3}


def test_every_setting_that_can_hold_a_path_is_emptied() -> None:
    """Those whose range takes any text; labels and classes are the model's, and arms hold no text of their own."""
    of_labels = {"data.labels", "data.label_map", "data.classes", "clinical.t1_ms", "arms"}
    for name, value in flatten(base.get_config()).items():
        if isinstance(value, str | tuple) and name not in of_labels:
            takes, _ = RULES.get(name, (lambda given: True, ""))
            free = takes("a/b") if isinstance(value, str) else takes(("a/b",))
            assert not free or name in PLACES or f"{name.partition('.')[0]}." in PLACES, name


def test_equal_runs_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "mri", tmp_path / "copied" / "run")
    written = write_bundle(tmp_path / "copied" / "run", tmp_path / "deep" / "again.zip")
    assert (tmp_path / "deep" / "again.zip").read_bytes() == (folder / "mri.zip").read_bytes()
    assert written.size == (folder / "mri.zip").stat().st_size and not written.was_there


def test_an_existing_file_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    content = (folder / "ct.zip").read_bytes()
    (tmp_path / "model.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.zip is there and is not the bundle that this run gives"):
        write_bundle(folder / "mri", tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == content
    with pytest.raises(InputError, match="is a folder, expected the name of a file"):
        write_bundle(folder / "mri", tmp_path)


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [("result.json", "not finished"), ("best", "best is missing"), ("manifest.json", "manifest.json is missing")],
)
def test_a_run_that_is_not_whole(folder: Path, tmp_path: Path, missing: str, complaint: str) -> None:
    shutil.copytree(folder / "mri", tmp_path / "run")
    path = tmp_path / "run" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=complaint):
        write_bundle(tmp_path / "run", tmp_path / "model.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    model = bundled_run.model_of("mri")
    params = jax.tree.map(lambda leaf: leaf * np.nan, model.params)
    run = bundled_run.write_run(tmp_path / "run", replace(model, params=params))
    with pytest.raises(InputError, match="holds numbers that are not finite"):
        write_bundle(run, tmp_path / "model.zip")


@pytest.mark.parametrize("name", ["study", "dataset", "class"])
def test_a_name_that_gives_somebody_away(tmp_path: Path, name: str) -> None:
    record = small_model.record()
    changes = {name: "of conspicuous_subject_0"} if name != "class" else {}
    classes = ClassMap(("conspicuous_scan_0", "dim"), ((1,), (4,))) if name == "class" else record.classes
    model = small_model.model(replace(record, classes=classes, **changes))
    run = bundled_run.write_run(tmp_path / "run", model)
    with pytest.raises(InputError, match=r"holds 'conspicuous_s.*which is a scan or subject of the study; rename it"):
        write_bundle(run, tmp_path / "model.zip")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "model.zip"
    arguments = ["bundle", f"--run={folder / 'ct'}", f"--output={output}"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"Dice, average over 4 test subjects: 0\.\d{3} \(95 % interval 0\.\d{3} to 0\.\d{3}\)", shown[0]
    )
    assert shown[1] == f"bundle: {output} ({output.stat().st_size / 1e6:.3g} MB)"
    assert main(arguments) == 0
    assert "was there already, with the bytes of this run" in capsys.readouterr().out
    assert main([*arguments, "--verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "they agree"
    assert main(["bundle", f"--run={folder / 'mri'}", f"--output={output}", "--verify"]) == 1
    assert "they differ" in capsys.readouterr().out
    assert main(["bundle", f"--run={folder / 'mri'}", f"--output={output}"]) == 2
    assert "is there and is not the bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no --run given, expected --run=<folder of one run> --output=model.zip [--verify]"),
        (["--run=x"], "no --output given"),
        (["--run=x", "--output=y", "z"], "got the word 'z'"),
        (["--run=x", "--outptu=y"], "outptu"),
        (["--run=x", "--output=y", "--verify=perhaps"], "verify"),
        (["--run=x", "--output=y"], "x does not exist; expected the folder of a run"),
    ],
)
def test_what_the_command_cannot_use(words: list[str], complaint: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["bundle", *words]) == 2
    shown = capsys.readouterr().err
    assert complaint in shown and shown.startswith("error: ") and shown.count("\n") == 1


def test_help_and_debug(capsys: pytest.CaptureFixture) -> None:
    assert main(["bundle", "--help"]) == 0 and "--verify" in capsys.readouterr().out
    assert main(["bundle", "--run=x", "--output=y", "--debug"]) == 2 and "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_new_process_uses_it(folder: Path) -> None:
    """As README.md of the bundle has it: the package, then its program without the package."""
    script = f"""
import sys
import inpaint_ssl
assert "jax" not in sys.modules
import numpy as np
bundle = inpaint_ssl.load_bundle({str(folder / "ct.zip")!r})
array = np.random.default_rng(0).normal(0, 300, (16, 16, 3))
mask = bundle.segment(array, (1, 1, 2))
import zipfile, jax
from jax import export
content = zipfile.ZipFile({str(folder / "ct.zip")!r}).read("network.stablehlo")
network = jax.jit(export.deserialize(bytearray(content)).call)
slices = array.transpose(2, 1, 0)[:, ::-1, ::-1, None].astype(np.float32)
labels = np.asarray(network(slices))[:, ::-1, ::-1].transpose(2, 1, 0)
print(mask.shape, mask.dtype, (mask == labels).mean())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(16, 16, 3) uint8 1.0\n"), done.stderr
