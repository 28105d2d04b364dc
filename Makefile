# Every target does all of its own set-up; a fresh Debian or Ubuntu with Python >= 3.11 and make is enough.
SHELL := /bin/bash
BIN := .venv/bin
export PYTHON  # another Python than python3: make PYTHON=/path/to/python3.11 …

.NOTPARALLEL:
.PHONY: bench campaign-demo campaign-interleavings campaign-kills campaign-large campaign-seconds demo test lint format setup system-packages lock docs clean runtime dev system-packages-once

demo: runtime ## the whole promise once: change, back up, destroy, recover (ARGS="--keep")
	$(BIN)/python -m vivr_demo $(ARGS)

test: dev system-packages-once ## the default suite, in two processes (ARGS="-k name"; -n 0: in one)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

bench: runtime system-packages-once ## speed and size, against tar, zstd, pg_basebackup and pgBackRest (ARGS="--scratch DIRECTORY --only full wal-push")
	$(BIN)/python -m bench $(ARGS)

lint: dev ## ruff (check and format), pyright strict, the walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: dev ## everything a developer needs
	@echo "ready: source .venv/bin/activate"

docs: dev ## the generated pages (docs/ERRORS.md, docs/CLI.md)
	$(BIN)/python -m tools.generate_docs

system-packages: ## PostgreSQL, PgBouncer, strace and pgBackRest for the tests and benchmarks that need them, where this user may install
	tools/system-packages.sh --now

lock: dev ## new pins for today
	tools/lock.sh

runtime dev:
	@tools/setup.sh $@

system-packages-once:
	@tools/system-packages.sh

clean:
	rm -rf .venv demo demo.lock .pytest_cache .ruff_cache .hypothesis .import_linter_cache

campaign-demo: dev ## the demo, killed five times at random moments before it may play to its end
	SAFEPOINT_DEMO_KILLS=5 $(BIN)/python -m pytest tests/drill/test_demo.py

campaign-interleavings: dev ## writers, collectors and expirers in SAFEPOINT_INTERLEAVINGS orders (default 200000), and with each protective step left out
	SAFEPOINT_INTERLEAVINGS=$${SAFEPOINT_INTERLEAVINGS:-200000} $(BIN)/python -m pytest -s tests/pure/test_commit_model.py

campaign-kills: dev ## every verb of `repository`, killed and cut off the power at every one of its calls to the store
	SAFEPOINT_KILLS=all $(BIN)/python -m pytest tests/contract/test_care_kill_sweeps.py

campaign-large: dev ## backups of a relation of more than 1 GB, whole and by changed pages, each restored byte for byte
	SAFEPOINT_LARGE=1 $(BIN)/python -m pytest tests/postgres/test_backup_segments.py

campaign-seconds: dev ## SAFEPOINT_SECONDS restores to random seconds under traffic (default 100), each against the order of commits in WAL
	SAFEPOINT_SECONDS=$${SAFEPOINT_SECONDS:-100} $(BIN)/python -m pytest -s tests/drill/test_random_seconds.py
