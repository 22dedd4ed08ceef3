# Each target sets up what it needs in .venv; nothing is installed elsewhere.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

ifneq ($(wildcard ../shared/data),)
export MULTIGRAFT_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test check format bench docs

demo: $(READY)
	$(BIN)/multigraft compare starter --budget 5m --unseen app_feedback --output runs/demo

test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/pytest -n 2 --dist worksteal -q

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	bench/run_all.sh

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,plots,tensorboard]'
	touch $@

.venv/.docs: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@
