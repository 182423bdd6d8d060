"""What the checkout promises outside its code: locks, paths, sizes, and the commands of the README."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from experiments import benchmark
from inpaint_ssl.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("cpu", "cuda")
CODE_FOLDERS = ("inpaint_ssl", "experiments", "configs")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    lines = [line for line in lock_text(name).replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    parsed = [line.split("--hash=") for line in lines]
    return [(Requirement(first.strip()), [h.strip() for h in hashes]) for first, *hashes in parsed]


def code_files() -> list[Path]:
    return [path for folder in CODE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_is_pinned_with_hashes(name: str) -> None:
    for requirement, hashes in locked(name):
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_place(name: str) -> None:
    assert re.findall(r"://|--\S*index\S*|--find-links|@ |(?m:^-)", lock_text(name)) == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("name", "extras"), [("cpu", ["dev"]), ("cuda", ["dev", "cuda"])])
def test_locks_satisfy_the_project(name: str, extras: list[str], python: str) -> None:
    """A dependency that was added or moved in pyproject.toml and not locked again is found here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [r for extra in extras for r in project["optional-dependencies"][extra]]
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    versions: dict[str, str] = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in locked(name)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
    assert versions["jax"].startswith("0.10." if python == "3.11" else "0.11.")
    assert versions["jax"] == versions["jaxlib"]


def test_cuda_lock_contains_the_cpu_lock() -> None:
    """So that the tests run on a GPU machine with the very versions that they were run with here."""
    assert {str(r) for r, _ in locked("cpu")} <= {str(r) for r, _ in locked("cuda")}


def tracked_files() -> list[Path]:
    """Files that are or would be committed; in an unpacked archive without git, all beside the generated ones."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        return [path for name in names if name and (path := ROOT / name).is_file()]
    generated = {".venv", "runs", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not generated & set(p.relative_to(ROOT).parts)]


MACHINE_PATH = re.compile(r"(?<![\w.}>)*-])/(?:home|root|Users|work)/\w+")


def test_no_path_of_a_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # pictures
            continue
        found += [f"{path.relative_to(ROOT)}: {match}" for match in MACHINE_PATH.findall(text)]
    assert found == []


def test_the_search_for_machine_paths_finds() -> None:
    slash = "/"
    assert MACHINE_PATH.search(f'root = "{slash}home{slash}someone/data"')
    assert MACHINE_PATH.search(f"#    uv --cache-dir {slash}root{slash}cache")
    assert not MACHINE_PATH.search("runs/work/x and ../work/y")


@pytest.mark.parametrize("path", code_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_documented_and_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says in its first line what it is for"
    if path.is_relative_to(ROOT / "configs"):  # a list of settings is as long as it must be
        return
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{node.name} is too long"


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "inpaint_ssl").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_test_files_have_names_of_their_own() -> None:
    """Without packages in tests/, pytest imports test files by base name."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert sorted(set(names)) == sorted(names)
    assert "__init__.py" not in names


# The commands of the README. Their long runs are not repeated here: `make lint`, `make test` and `make slow` are run by
# .ci/run, whole runs of experiments.main by its own tests. Here each command is held against what exists: the target,
# the module, the config file, every overridden key and its type, and that some test uses the config.


def readme_commands(text: str) -> list[str]:
    """The lines of ```bash blocks that start with make or python, continuation lines joined."""
    blocks = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"(make|python3?|\S*/python3?)(\s|$)", line)]


def config_keys(file: str) -> dict[str, object]:
    """Every key of a config file in dotted form, with its value."""

    def walk(node: object, prefix: str) -> Iterator[tuple[str, object]]:
        for key, value in node.items():  # type: ignore[attr-defined]
            if hasattr(value, "items"):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    return dict(walk(module.get_config(), ""))


STUDY_COMMANDS = {  # those that take --config, and what else each takes beside --workdir and --debug
    "experiments.main": {"--plan"},
    "experiments.prepare": set[str](),
    "experiments.doctor": {"--html"},
    "experiments.t2_maps": {"--output"},
}
PLAIN_COMMANDS = {"experiments.predict", "experiments.bundle", "experiments.results"}  # those without settings


def plain_complaint(command: str, module: str, arguments: list[str]) -> str:
    try:
        importlib.import_module(module).parse([module, *arguments])
    except InputError as error:
        return f"{command}: {error}"
    tested = some_test_has(module.partition(".")[2], "main", *(a.partition("=")[0] for a in arguments))
    return "" if tested else f"{command}: no test runs it with these flags"


def complaint(command: str) -> str:
    """Why a command of the README cannot be meant, or ''."""
    program, *arguments = shlex.split(command, comments=True)
    if program == "make":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        dry = subprocess.run(["make", "-n", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        return "" if dry.returncode == 0 and arguments else f"{command}: {dry.stderr.strip() or 'no target'}"
    if arguments[:1] != ["-m"]:
        return f"{command}: neither make nor python -m"
    if arguments[1] == "experiments.benchmark":
        return benchmark_complaint(command, arguments[2:])
    if arguments[1] == "experiments.phantom":
        return "" if some_test_has('"experiments.phantom"', *(a.partition("=")[0] for a in arguments[2:])) else command
    if arguments[1] in PLAIN_COMMANDS:
        return plain_complaint(command, arguments[1], arguments[2:])
    if arguments[1] not in STUDY_COMMANDS:
        return "" if arguments[1] in {"pip", "pytest", "venv"} else f"{command}: nothing is known of {arguments[1]}"
    options = dict(option.partition("=")[::2] for option in arguments[2:])
    file, _, spec = options.pop("--config", "").partition(":")
    data = spec.partition(",")[0]
    if data and not (ROOT / "configs" / f"{data}.py").is_file():
        return f"{command}: no config of a data set {data!r}"
    if not (ROOT / file).is_file() or not file.startswith("configs/"):
        return f"{command}: no config file {file!r}"
    keys = config_keys(file)
    for option, value in options.items():
        key = option.removeprefix("--config.")
        if key == option:
            if option not in {"--workdir", "--debug", *STUDY_COMMANDS[arguments[1]]}:
                return f"{command}: unknown option {option}"
        elif key not in keys:
            return f"{command}: {file} has no key {key}"
        elif key != "study.from" and isinstance(keys[key], bool | int | float | tuple):
            try:
                ast.literal_eval(value.capitalize() if isinstance(keys[key], bool) else value)
            except (ValueError, SyntaxError):
                return f"{command}: {key} = {value} is no {type(keys[key]).__name__}"
    if not some_test_has(Path(file).name):
        return f"{command}: no test uses {file}"
    name = arguments[1].partition(".")[2]
    return "" if some_test_has(f"experiments.{name} import main") else f"{command}: no test runs {arguments[1]}"


def some_test_has(*words: str) -> bool:
    """Whether another file of the tests has all these words."""
    others = [p for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__).resolve()]
    return any(all(word in text for word in words) for text in (p.read_text(encoding="utf-8") for p in others))


def benchmark_complaint(command: str, arguments: list[str]) -> str:
    try:
        name = benchmark.parse(arguments).benchmark
    except InputError as error:
        return f"{command}: {error}"
    return "" if some_test_has('"experiments.benchmark"', f'"{name}"') else f"{command}: no test runs {name}"


def test_readme_commands() -> None:
    commands = readme_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"make demo", "make test"} <= {" ".join(shlex.split(c, comments=True)) for c in commands}
    assert [c for c in map(complaint, commands) if c] == []


def test_make_demo_is_a_command_that_exists() -> None:
    (recipe,) = re.findall(r"^demo:.*\n\t\$\(PY\) (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert complaint(f"python {recipe}") == ""


def test_ci_runs_the_three_sets_of_checks() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [t for t in ("lint", "test", "slow") if not re.search(rf"^make {t}\b", script, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("make no_such_target", "No rule"),
        ("make", "no target"),
        ("python train.py", "neither"),
        ("python -m experiments.no_such", "nothing is known"),
        ("python -m experiments.benchmark no_such", "invalid choice: 'no_such'"),
        ("python -m experiments.benchmark corruption --qick", "unrecognized arguments: --qick"),
        ("python -m experiments.main --config=configs/no_such.py", "no config file"),
        ("python -m experiments.main --config=configs/quickstart.py --config.data.rot=x", "no key data.rot"),
        ("python -m experiments.main --config=configs/quickstart.py --config.finetune.max_steps=x", "is no int"),
        ("python -m experiments.main --config=configs/quickstart.py --wrokdir=runs/x", "unknown option"),
    ],
)
def test_the_check_of_commands_finds(command: str, reason: str) -> None:
    assert readme_commands(f"Text\n\n```bash\n{command}  # why\n```\n") == [f"{command}  # why"]
    assert reason in complaint(command)


def test_the_check_of_commands_knows_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint("python -m experiments.benchmark corruption --output=runs/benchmark --quick") == ""
    monkeypatch.setitem(benchmark.BENCHMARKS, "untried", benchmark.BENCHMARKS["corruption"])
    assert "no test runs untried" in complaint("python -m experiments.benchmark untried")
