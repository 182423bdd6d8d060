"""A module imports lower layers only; what evaluation's readers need runs without jax."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "inpaint_ssl"
LAYERS = (
    (
        *("errors", "config", "rng", "types", "files", "progress", "qdess", "versions", "colours"),
        *("parallel", "machines", "runtime", "memory", "events", "signals"),
    ),
    ("data", "corruption", "augmentation", "models", "losses", "metrics", "postprocess", "statistics"),
    ("normalise", "measure", "optim", "steps", "transfer", "checkpoint"),
    ("batches",),
    ("engine", "evaluate"),
    ("training", "trained"),
    ("report", "bundle"),
    ("study",),
    ("forecast", "predict"),
    ("doctor",),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
FOR_ALL = {"errors", "files"}  # may be imported from the bottom layer too
OUTSIDE = {"configs", "experiments", "tests"}


def imported_names(path: Path, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import in the module whose dotted name has `parts`."""
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join((*origin, *([node.module] if node.module else [])))
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def violations(folder: Path) -> list[str]:
    """What the package in `folder` imports against the layers, one sentence each."""
    found = []
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        room = parts[1] if len(parts) > 1 else ""
        if room and room not in LAYER_OF:
            found.append(f"{path.relative_to(folder)}: {room} has no layer; give it one in LAYERS")
            continue
        for line, name in imported_names(path, parts):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            where = f"{path.relative_to(folder)}:{line}: {room or PACKAGE} imports {name}"
            if top in OUTSIDE:
                found.append(f"{where}, which is outside the package")
            elif top != PACKAGE or target not in LAYER_OF or target in FOR_ALL or not room or target == room:
                continue
            elif LAYER_OF[target] >= LAYER_OF[room]:
                found.append(f"{where}: layer {LAYER_OF[room]} imports layer {LAYER_OF[target]}")
    return found


def test_imports_go_down() -> None:
    assert violations(ROOT) == []


def test_every_room_exists() -> None:
    package = ROOT / PACKAGE
    missing = [r for r in LAYER_OF if not (package / f"{r}.py").exists() and not (package / r / "__init__.py").exists()]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("losses.py", "from inpaint_ssl.training import train", "layer 1 imports layer 5"),
        ("losses.py", "import inpaint_ssl.steps", "layer 1 imports layer 2"),
        ("losses.py", "from inpaint_ssl import metrics", "layer 1 imports layer 1"),
        ("losses.py", "from . import metrics", "layer 1 imports layer 1"),
        ("data/readers/nifti.py", "def f():\n    from ...models.unet import UNet", "layer 1 imports layer 1"),
        ("data/__init__.py", "from ..models import UNet", "layer 1 imports layer 1"),
        ("rng.py", "from inpaint_ssl import config", "layer 0 imports layer 0"),
        ("study.py", "from configs import base", "outside the package"),
        ("__init__.py", "import experiments.main", "outside the package"),
        ("extra.py", "", "has no layer"),
    ],
)
def test_the_check_finds(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    path = tmp_path / PACKAGE / module
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (found,) = violations(tmp_path)
    assert complaint in found


def test_the_check_allows(tmp_path: Path) -> None:
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "losses.py").write_text(
        "import jax\nfrom inpaint_ssl import __version__, rng\nfrom .types import Batch\n"
    )
    (folder / "config.py").write_text("from inpaint_ssl.errors import InputError\nimport inpaint_ssl.files\n")
    assert violations(tmp_path) == []


IMPORT_ALL = """
import importlib, pkgutil, sys
module = importlib.import_module(sys.argv[1])
if hasattr(module, "__path__"):
    for part in pkgutil.walk_packages(module.__path__, module.__name__ + "."):
        importlib.import_module(part.name)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "jaxlib", "flax", "optax", "orbax", "torch"}))
"""


def heavy_imports(module: str) -> str:
    """The heavy packages that a fresh interpreter holds after importing `module` with all that is inside it."""
    command = [sys.executable, "-c", IMPORT_ALL, module]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "room",
    ["config", "data", "errors", "files", "measure", "metrics", "postprocess", "report", "statistics", "versions"],
)
def test_no_jax(room: str) -> None:
    assert heavy_imports(f"{PACKAGE}.{room}") == "[]"


def test_importing_the_package_alone_is_light() -> None:
    command = [
        sys.executable,
        "-c",
        f"import sys, {PACKAGE}; print(sorted({{'jax', 'numpy', 'scipy'}} & set(sys.modules)))",
    ]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_jax_check_finds() -> None:
    assert "jax" in heavy_imports(f"{PACKAGE}.losses")
