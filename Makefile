# `make demo` and `make test` need git, Python >= 3.11 and Go (or, for the demo, a kustomize on PATH).
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TARGET ?= directory

.PHONY: setup demo test lint types format requirements lock clean

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The main job on the sample shop, as a tutorial. TARGET=cluster uses a real control plane.
demo: $(READY)
	@$(BIN)/python tools/build.py $(if $(filter cluster,$(TARGET)),cluster,demo)
	@$(BIN)/python tools/demo.py --target $(TARGET)

# The whole suite, with real registries and a real Kubernetes control plane. Its tests wait for these
# half of their time: 3 workers suit 2 cores.
test: $(READY)
	@$(BIN)/python tools/build.py test
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Writes docs/requirements.md from the marks of the tests; a test fails where it is out of date.
requirements: $(READY)
	$(BIN)/python tools/requirements.py --write

# Needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header pyproject.toml --group dev -o requirements-dev.lock

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache
