# Everything a contributor or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# First interpreter that is Python 3.11, under whatever name; override with make PYTHON=/path/to/python3.11
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
CHECKED := moegs_ns tests tools benchmarks integrations setup.py

.PHONY: help env demo lint format test test-slow test-all test-newest faults load docs wheel lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## create or complete .venv (CPU torch, or the CUDA build where an NVIDIA GPU answers); nothing to do when up to date
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 as python3.11, python3 or python, found none; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) tools/setup_env.py --path $(VENV)

demo: env ## train two experts and a router on the sample scene (minutes on 2 cores): table, video, gate picture
	$(BIN)/moegs train examples/mixed --experts stg 4dgaussians --preset demo --objects --render

lint: env ## ruff (rules and format) and mypy
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy

format: env ## let ruff rewrite what it can
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

test: env ## quick tests; those that need ../shared/data or a GPU are skipped where these are absent
	$(PYTEST) -m "not slow" --durations=10

test-slow: env ## the tests marked slow
	$(PYTEST) -m slow --durations=10

test-all: test test-slow ## quick and slow tests

test-newest: env ## the rasterizer's tests that need no GPU, with the newest gsplat there is (about a minute)
	@rm -rf build/newest
	$(BIN)/python -m pip -q --disable-pip-version-check install --no-deps --target build/newest gsplat
	PYTHONPATH=build/newest $(PYTEST) -q tests/splats/test_gsplat_oracle.py tests/splats/test_gsplat_path.py tests/splats/test_conventions.py

docs: env ## build README and docs/ as a site that opens from disk, build/docs/index.html; broken links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

faults: env ## kill commands at random moments, resume them, compare with undisturbed ones; writes the figures (a quarter of an hour)
	$(BIN)/python benchmarks/faults.py

load: env ## does memory stay flat over 20,000 steps, 1,000 pictures, 50 frame stores; writes the figures (some minutes)
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/write_performance.py

wheel: env ## build dist/moegs_ns-*.whl with presets and kernels, on x86-64 Linux compiled for three levels of processors
	rm -rf build dist
	$(BIN)/python -m pip -q wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls -l dist

lock: env ## write the versions now in .venv to requirements/constraints.txt
	@sed -i '/^[^#]/d' requirements/constraints.txt
	@$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable --exclude torch --exclude torchvision \
		--exclude nerfstudio --exclude gsplat --exclude nerfacc >> requirements/constraints.txt

clean: ## remove build results and caches; keeps .venv, runs and the user's cache
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +
