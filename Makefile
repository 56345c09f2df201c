# make demo   the whole pipeline on a set that is drawn on the spot
# make test   the tests
# make lint   style and types
# make trials damage, faults and kills by the thousand (docs/reliability.md): two hours on one core
# make setup  only the environment; the others call it, and it does nothing where nothing has changed
#
# For a machine with a GPU nothing is different: pip brings the CUDA build of torch where the index has it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint trials lock clean

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/augment run configs/demo.yaml

# Workers of pytest-xdist, one more than there are cores; tests that would disturb each other share one
# (tests/conftest.py). Without -n:
# `.venv/bin/python -m pytest tests/test_pairs.py`, which starts at once.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

trials: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/trials/run.py

# The lock files anew, from what the index has for the ranges in pyproject.toml.
lock: $(STAMP)
	$(PIP) --dry-run --ignore-installed --report $(VENV)/lock.json -e ".[dev]" $(TOOLS)
	$(PIP) --dry-run --ignore-installed --no-deps --report $(VENV)/lock-built.json $(BUILT)
	$(BIN)/python .ci/lock.py requirements.lock $(VENV)/lock.json
	$(BIN)/python .ci/lock.py requirements-built.lock $(VENV)/lock-built.json

clean:
	rm -rf $(VENV)

# The lock files name every package with its hash. They fit Python 3.11 on Linux; elsewhere, or with `make LOCK=`, the
# ranges in pyproject.toml decide. torch and torchvision are not in them: the index has builds for CPU or for CUDA.
LOCK ?= $(shell $(PYTHON) -c 'import platform as p, sys; print("requirements" * ((*sys.version_info[:2], sys.platform, \
  p.machine(), p.libc_ver()[0]) == (3, 11, "linux", "x86_64", "glibc")))')
PIP := $(BIN)/python -m pip install --quiet --no-build-isolation --no-compile
HASHED := $(PIP) --no-deps --require-hashes -r
TOOLS := "setuptools>=77,<81" wheel ninja
BUILT = $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["make"]["no-deps"])')
STRANGE = { echo "make: not all of $(LOCK)*.lock could be installed; pip says why. Where an index has other builds: make LOCK="; \
  exit 3; }

# openpifpaf and torchreid go last: they are built with the torch that is there by then, and without their own pins,
# which are those of a torch from years ago. Bytecode is compiled at the end, on all cores: pip would use one.
$(STAMP): pyproject.toml requirements.lock requirements-built.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed, and $(PYTHON) is not. Name another: make PYTHON=python3.11"; exit 3; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: Python's venv is missing. On Debian: apt-get install python3-venv python3-dev"; exit 3; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || { \
	  echo "make: a C++ compiler is missing; openpifpaf is built with it. On Debian: apt-get install g++"; exit 3; }
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { \
	  echo "make: Python's headers are missing. On Debian: apt-get install python3-dev"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	@echo "make: installing into $(VENV); this takes some minutes, once"
	@$(if $(LOCK),grep -E "^(setuptools|wheel|packaging|ninja)=" $(LOCK).lock | $(HASHED) /dev/stdin || $(STRANGE),$(PIP) $(TOOLS))
	@$(if $(LOCK),$(HASHED) $(LOCK).lock || $(STRANGE))
	@$(PIP) -e ".[dev]"
	@export CFLAGS="-O1 -g0" MAX_JOBS=2; $(if $(LOCK),$(HASHED) $(LOCK)-built.lock || $(STRANGE),$(PIP) --no-deps $(BUILT))
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	touch $(STAMP)
