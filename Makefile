# make quickstart   learn three Meta-World tasks, about 3 minutes
# make test         the whole test suite, within half an hour on two cores
# make docs         the pages, into site/index.html
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart
ARGS ?=
WORKERS ?= 2

.PHONY: quickstart test lint docs clean

quickstart: $(VENV)/.installed
	$(BIN)/cotasp run recipes/quickstart.yaml $(ARGS) --out $(RUN)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing cotasp and what it needs into $(VENV): some minutes, once"
	$(BIN)/python -m pip install --quiet --no-compile -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build site *.egg-info
