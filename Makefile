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

.PHONY: setup demo test lint trials clean

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/augment run configs/demo.yaml

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

trials: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/trials/run.py

clean:
	rm -rf $(VENV)

# The requirements stand in pyproject.toml alone. openpifpaf and torchreid go last: they are built with the torch that is
# there by then, and without their own pins, which are those of a torch from years ago.
$(STAMP): pyproject.toml
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
	$(BIN)/python -m pip install --quiet "setuptools>=77,<81" wheel ninja
	$(BIN)/python -m pip install --quiet --no-build-isolation -e ".[dev]"
	CFLAGS="-O1 -g0" MAX_JOBS=2 $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
	  $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["make"]["no-deps"])')
	touch $(STAMP)
