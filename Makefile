# make demo   the whole path on synthetic clips: a table and a labelled video
# make demo DATA=folder   the same on your folder of class folders
# make test   style and all tests
# Both install what they need into .venv (Python 3.11, git and make suffice).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?=
RUN_DIR ?= runs/demo

.PHONY: demo test install format clean

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh "$(RUN_DIR)" "$(DATA)"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

install: $(STAMP)

$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
