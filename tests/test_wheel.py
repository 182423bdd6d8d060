"""The package that users install: what the wheel holds, and that it works where the checkout is not."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "inpaint_ssl"
# They need the package alone, no configs/; of each part some, as the whole suite has run on the same code before.
TESTS = (
    "statistics/test_statistics.py",
    "metrics/test_overlap.py",
    "models/test_unet.py::test_convolution_is_flax_convolution",
    "models/test_unet.py::test_weight_standardisation_in_numpy",
    "corruption/test_mask_bank.py::test_paired_anew",
    "report/test_page.py::test_page_stands_alone_and_shows_everything",
    "report/test_tables.py::test_results_against_numpy_and_scipy",
)
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of it
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}

# A pytest plugin that leaves behind where each module of the package was loaded from.
ORIGINS = f"""
import json, sys
def pytest_sessionfinish(session):
    loaded = {{name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "{PACKAGE}"}}
    with open("origins.json", "w") as stream:
        json.dump(loaded, stream)
"""

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> str:
    """The output of a command; a failure shows it."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    run(sys.executable, "-m", "pip", "wheel", *options, str(ROOT), cwd=folder, **NO_INDEX)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")]
    metadata = [name for name in names if name.partition("/")[0].endswith(".dist-info")]
    source = [p for p in (ROOT / PACKAGE).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sorted(set(names) - set(metadata)) == sorted(p.relative_to(ROOT).as_posix() for p in source)
    assert any(name.endswith(".j2") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_suite_passes_on_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "origins.py").write_text(ORIGINS)
    options = ["--no-deps", "--quiet", "--target", str(target)]
    run(sys.executable, "-m", "pip", "install", *options, str(wheel), cwd=elsewhere, **NO_INDEX)
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    flags = ["-q", "-p", "no:cacheprovider", "-p", "origins"]
    path = os.pathsep.join([str(target), str(elsewhere)])
    output = run(sys.executable, "-m", "pytest", *flags, *tests, cwd=elsewhere, PYTHONPATH=path, **QUICKLY)
    assert " passed" in output
    loaded = json.loads((elsewhere / "origins.json").read_text())
    assert {f"{PACKAGE}.{name}" for name in ("statistics", "models", "corruption")} <= set(loaded)
    assert [name for name, file in loaded.items() if not Path(file).is_relative_to(target)] == []
