PYTHON ?= python3
PY = .venv/bin/python

.PHONY: setup run test test-unit test-browser lint bench soak screens
.DEFAULT_GOAL := run

setup: ## Everything that running needs, into .venv
	@$(PYTHON) tools/setup.py

run: setup ## Web server, workers and sandbox; prints where to sign in
	@exec $(PY) manage.py up

test: ## Everything that the tests need, then all tests
	@$(PYTHON) tools/setup.py --tests
	@$(PY) tools/run_tests.py

test-unit:
	@$(PYTHON) tools/setup.py --dev
	@$(PY) tools/run_tests.py unit

test-browser:
	@$(PYTHON) tools/setup.py --tests
	@$(PY) tools/run_tests.py browser

lint: ## Style, types, layers
	@$(PYTHON) tools/setup.py --dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup ## Speed, as ratios to bare loops in the same run
	@$(PY) manage.py bench

soak: ## Many jobs under faults for MINUTES while processes are killed, then the books; with NIGHT=1 the fault tests at night size
	@$(PYTHON) tools/setup.py $(if $(NIGHT),--tests,--dev)
	@$(PY) tools/soak.py
	@$(if $(NIGHT),$(PY) tools/run_tests.py night night-postgres,echo "fault tests at night size: NIGHT=1 make soak")

screens: ## Screenshots of every page, light, dark and narrow, into screens/
	@$(PYTHON) tools/setup.py --tests
	@$(PY) -m tools.screens
