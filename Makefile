# make demo   the whole path on synthetic clips: a table and a labelled video
# make demo DATA=folder   the same on your folder of class folders; RUN_DIR=... says
#                         where it writes, by default runs/demo or runs/demo_folder
# make test   style and all tests
# make web MODEL=model_int8.tflite   edge/web/dist, a page that runs the model
# make android   build/android/autox3d-edge.jar, which runs models in an app
# All but the last install what they need into .venv and edge/web/node_modules
# (Python 3.11, git and make suffice); that one needs a JDK of 9 or later.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WEB := edge/web/node_modules/.package-lock.json
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix edge/web
DATA ?=
MODEL ?=
RUN_DIR ?=
JAR ?= build/android/autox3d-edge.jar
JAVA := $(shell find edge/android/src -name '*.java')

.PHONY: demo test web android install format clean

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh "$(RUN_DIR)" "$(DATA)"

test: install
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

web: install
	$(NPM) run --silent build -- $(if $(MODEL),"$$(realpath "$(MODEL)")")

android: $(JAR)

$(JAR): $(JAVA)
	rm -rf "$@" "$@.classes"
	javac --release 8 -Xlint:-options -d "$@.classes" $(JAVA)
	jar --create --file "$@" -C "$@.classes" .
	rm -r "$@.classes"

install: $(STAMP) $(WEB)

$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	touch $@

$(WEB): edge/web/package-lock.json $(STAMP)
	$(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info edge/web/node_modules edge/web/dist
