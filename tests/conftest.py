"""What every test shares: the devices, checked types and shapes, and the real scans."""

import atexit
import datetime
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before jax starts: the CPU unless the caller chose otherwise, seen as four devices (an existing flag, later, wins).
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {os.environ.get('XLA_FLAGS', '')}".strip()

# Programs compiled by one test serve the others and the processes that tests start; the user's own are left alone.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="inpaint_ssl_programs_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# Generated scans that one test prepared serve the others in the same way (tests/study/tiny.py).
if "INPAINT_SSL_TEST_PREPARED" not in os.environ:
    os.environ["INPAINT_SSL_TEST_PREPARED"] = tempfile.mkdtemp(prefix="inpaint_ssl_prepared_")
    atexit.register(shutil.rmtree, os.environ["INPAINT_SSL_TEST_PREPARED"], ignore_errors=True)

# Fast tests compile without most of XLA's optimisations, which takes half the time; `make slow` compiles as users do:
# numbers of two programs agree more closely then. The fixtures below choose otherwise for a module.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# An int where a float is annotated is fine, as it is for mypy.
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
install_import_hook("inpaint_ssl", "conftest.check_types")

ROOT = Path(__file__).resolve().parent.parent
# The files that take longest, of the fast tests or the slow ones; begun last, one would keep a single process busy.
LONGEST_FIRST = (
    *("study/test_paper_studies.py", "test_machines.py", "study/test_real_scans_study.py", "test_parallel.py"),
    *("doctor/test_doctor_real_scans.py", "test_killed.py", "study/test_clinical_study.py", "data/test_fuzz.py"),
    *("study/test_study.py", "study/test_engine_study.py", "corruption/test_poisson_disc.py", "study/test_gallery.py"),
    *("predict/test_predict_memory.py", "predict/test_real_scans_predicted.py", "study/test_bundle_start.py"),
    *("bundle/test_bundle_of_a_study.py", "study/test_pretrained.py"),
    *("test_wheel.py", "test_steps.py", "report/test_page.py", "test_readme.py", "corruption/test_corruption.py"),
)
REAL_DATA_SETS = ("hippocampus", "headneck_ct", "dicom", "skm_tea_annotations")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "devices(count): needs so many devices, and is skipped where there are fewer")


def pytest_collection_modifyitems(items) -> None:
    """The longest files first, each as it is; the Makefile asks the processes to keep this order."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_runtest_setup(item) -> None:
    """Skip what needs more devices than there are: by the mark `devices`, or a parameter of that name."""
    counts = [mark.args[0] for mark in item.iter_markers("devices")]
    if hasattr(item, "callspec"):
        counts.append(item.callspec.params.get("devices", 1))
    if max(counts, default=1) > 1:
        import jax

        if jax.device_count() < max(counts):
            pytest.skip(f"needs {max(counts)} devices; there are {jax.device_count()} ({jax.default_backend()})")


@pytest.fixture(scope="module")
def full_precision() -> Iterator[None]:
    """Float32 products in float32 everywhere, for comparisons; a GPU by itself rounds their factors to TF32."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real scans, INPAINT_SSL_TEST_DATA or ../shared/data beside the checkout.

    A test that needs them is skipped where they are missing, and fails there when INPAINT_SSL_REQUIRE_DATA=1.
    """
    folder = Path(os.environ.get("INPAINT_SSL_TEST_DATA") or ROOT.parent / "shared" / "data").resolve()
    missing = [name for name in REAL_DATA_SETS if not (folder / name).is_dir()]
    if missing:
        reason = f"no real scans: {', '.join(missing)} not in {folder}; set INPAINT_SSL_TEST_DATA to their folder"
        if os.environ.get("INPAINT_SSL_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def _compiling(without_optimisations: bool) -> Iterator[None]:
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, without_optimisations)
    yield
    jax.config.update(name, before)


@pytest.fixture(scope="module")
def optimised():
    """All of XLA's optimisations in the tests of a module: for what computes longer than it compiles."""
    yield from _compiling(False)


@pytest.fixture(scope="module")
def quickly_compiled():
    """Few of XLA's optimisations in the slow tests of a module too: for tiny studies."""
    yield from _compiling(True)


@pytest.fixture
def keep_summary(request):
    """Writes what a `full` test measured to tests/summaries/<name>.json, to be committed."""

    from inpaint_ssl.versions import versions  # here, so that the hook above sees every import

    def write(name: str, content: dict) -> None:
        about = {
            "test": request.node.nodeid,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": versions(),
        }
        path = ROOT / "tests" / "summaries" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(about | content, indent=1) + "\n", encoding="utf-8")

    return write
