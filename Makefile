# make demo: train on scikit-learn's digits, sample to a PNG, export, sample from the export.
# make test: style and the whole test suite. Both make .venv from requirements.txt when it is missing.

CANDIDATES := python3.12 python3.13 python3.11 python3
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test format clean

demo: .venv/installed
	$(BIN)/python train.py --dataset=digits --workdir=demo/run
	$(BIN)/python sample.py --workdir=demo/run --num_samples=64 --out=demo/samples.png
	$(BIN)/python sample.py --saved_model --workdir=demo/run --num_samples=16 --out=demo/saved_model.png
	@echo "Look at demo/samples.png and demo/saved_model.png"

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11, 3.12 or 3.13"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache
