# `make up` serves, `make test` passes the tests; both set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TRITON_STAMP := .venv-triton/.installed
BUF := npx --yes @bufbuild/buf@1.75.0

.DEFAULT_GOAL := check
.PHONY: check install up lint buf buf-breaking gen gen-check catalogue-check graphs-check \
        test test-unit test-stack parity comfyui-tests bench triton-install triton docs docs-check docs-site train evaluate clean

check: lint test

install: $(STAMP)

$(STAMP): pyproject.toml
	@deploy/preflight.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev --group gen --editable .
	@touch $@

up: install
	$(BIN)/heliograph up

# --- checks -----------------------------------------------------------------
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MAKE) --no-print-directory buf gen-check catalogue-check docs-check

buf:
	@if command -v npx >/dev/null; then $(BUF) lint protos && $(MAKE) --no-print-directory buf-breaking; \
	else echo 'buf: skipped, npx is not installed (Debian package npm)'; fi

# Against what main had before this change; nothing to compare with in a first commit.
buf-breaking:
	@base=$$(git merge-base HEAD origin/main 2>/dev/null || true); \
	if [ -z "$$base" ] || [ "$$base" = "$$(git rev-parse HEAD)" ]; then base=$$(git rev-parse --verify --quiet HEAD~1 || true); fi; \
	if [ -n "$$base" ] && git cat-file -e "$$base:protos/buf.yaml" 2>/dev/null; then \
	  $(BUF) breaking protos --against ".git#ref=$$base,subdir=protos"; fi

gen: install
	PATH=$(abspath $(BIN)):$$PATH protos/generate.sh protos/py

gen-check: install
	@rm -rf build/gen && mkdir -p build/gen
	@PATH=$(abspath $(BIN)):$$PATH protos/generate.sh build/gen
	@diff -r --exclude=__pycache__ build/gen/heliograph protos/py/heliograph \
	  || { echo 'protos/py is stale: run `make gen`'; exit 1; }

catalogue-check: install
	$(BIN)/python -m orchestrator.nodes.catalogue --check

# What code prints into README and docs/.
docs: install
	$(BIN)/python -m cli.settings_reference
	$(BIN)/python -m cli.features
	$(BIN)/python -m cli.nodes_table
	$(BIN)/python -m cli.calls_drawing
	$(BIN)/python -m rest_bridge.openapi

docs-check: install
	$(BIN)/python -m cli.settings_reference --check
	$(BIN)/python -m cli.features --check
	$(BIN)/python -m cli.nodes_table --check
	$(BIN)/python -m cli.calls_drawing --check
	$(BIN)/python -m rest_bridge.openapi --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The pages as a site, in build/site.
docs-site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

graphs-check: install
	$(BIN)/python -m model_service.graphs.ship --check

# --- tests ------------------------------------------------------------------
test: install triton-install
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -q

test-unit: install
	$(BIN)/pytest -q tests/unit

# Every reference case that our nodes reach; long. Needs ../shared/reference or HELIOGRAPH_REFERENCE.
parity: install
	$(BIN)/python -m tests.golden.parity

# ComfyUI's own execution tests against Heliograph; they are not ours and need a checkout.
comfyui-tests: install
	@test -d "$(COMFYUI)/tests/execution" || { echo 'name a checkout: make comfyui-tests COMFYUI=/path/to/ComfyUI'; exit 2; }
	$(BIN)/python -m tests.comfyui.run "$(COMFYUI)"

bench: install
	$(BIN)/python -m bench

# --- the starter models ------------------------------------------------------
# Trains what is not trained yet (two to three hours on two cores) and goes on where it was stopped.
train: install
	nice -n 19 $(BIN)/python -m training --out models

evaluate: install
	$(BIN)/python -m training.evaluate --models models --sheets build/training/sheets

# --- Triton on a CPU, for tests and for trying it -------------------------------
triton-install: $(TRITON_STAMP)

$(TRITON_STAMP): deploy/triton/install.sh
	deploy/triton/install.sh
	@touch $@

triton: install triton-install
	HELIOGRAPH_SERVING=triton $(BIN)/heliograph up

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
