# Every target does all of its own set-up; a fresh Debian or Ubuntu with Python >= 3.11 and make is enough.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format setup system-packages lock docs clean

demo: .venv/.runtime ## the whole promise once: change, back up, destroy, recover (ARGS="--keep")
	$(BIN)/python -m vivr_demo $(ARGS)

test: .venv/.dev system-packages ## the default suite (ARGS="-k name")
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev ## ruff (check and format), pyright strict, the walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/.dev ## everything a developer needs
	@echo "ready: source .venv/bin/activate"

docs: .venv/.dev ## the generated pages (docs/ERRORS.md, docs/CLI.md)
	$(BIN)/python -m tools.generate_docs

system-packages: ## PostgreSQL, PgBouncer and strace for the tests that need them, where this user may install
	tools/system-packages.sh

lock: .venv/.dev ## new pins for today
	tools/lock.sh

.venv/.runtime: requirements.lock pyproject.toml tools/setup.sh
	PYTHON=$(PYTHON) tools/setup.sh requirements.lock
	touch $@

.venv/.dev: requirements-dev.lock pyproject.toml tools/setup.sh
	PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	touch $@ .venv/.runtime

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache
