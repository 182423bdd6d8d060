# make install | demo | test | slow | full | lint | format | lock | clean
# Variables: PYTHON (interpreter to try first), LOCK (cpu or cuda), PYTEST_ARGS, LOCK_ARGS (--upgrade takes newer versions)

LOCK ?= cpu
PYTHON ?= python3
PYTEST_ARGS ?=
LOCK_ARGS ?=

PY := .venv/bin/python
STAMP := .venv/.installed-$(LOCK)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
COMPILE := .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command "make lock" --quiet $(LOCK_ARGS)

.PHONY: install demo test slow full lint format lock clean

install: $(STAMP)

.venv/bin/python:
	@for candidate in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c '$(SUITABLE)' >/dev/null 2>&1; then \
	    echo "Creating .venv with $$candidate ($$("$$candidate" -V 2>&1))"; \
	    exec "$$candidate" -m venv .venv; \
	  fi; \
	done; \
	echo "make install: found no Python 3.11 to 3.14 with venv and pip (tried $(PYTHON), python3, python3.13, python3.12," >&2; \
	echo "python3.11). Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make install PYTHON=..." >&2; \
	exit 1

$(STAMP): requirements/$(LOCK).txt pyproject.toml | .venv/bin/python
	@echo "Installing the locked dependencies (requirements/$(LOCK).txt); the first time this takes a few minutes"
	@$(PY) -m ensurepip >/dev/null  # a set-up that was interrupted may have left .venv without pip
	$(PY) -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/$(LOCK).txt
	$(PY) -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: install
	$(PY) -m experiments.main --config=configs/quickstart.py --workdir=runs/quickstart

# Tests are shared among two processes, which keeps two cores busy; compiled programs serve both. A process takes whole
# files, so that what a file prepares is prepared once, in the order that tests/conftest.py gives: the longest first.
SHARED := -n 2 --dist=loadfile --no-loadscope-reorder

test: install
	$(PY) -m pytest $(SHARED) $(PYTEST_ARGS)

slow: install
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PY) -m pytest $(SHARED) -m "slow and not full" $(PYTEST_ARGS)

full: install
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PY) -m pytest -m "slow or full" $(PYTEST_ARGS)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: install
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: install
	$(COMPILE) --extra dev -o requirements/cpu.txt
	$(COMPILE) --extra dev --extra cuda -c requirements/cpu.txt -o requirements/cuda.txt

# The studies in runs/ are results and stay.
clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find inpaint_ssl configs experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +
