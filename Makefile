# make demo: train on scikit-learn's digits, sample to a PNG, export, sample from the export.
# make demo-color: train on cats in colour, sample, cats of each class, complete halves; loads 44 MB.
# make test: style, the direction of imports, and the test suite with the examples of docstrings.
# make test-slow: the tests that it leaves out.
# All make .venv from requirements.txt when it is missing; ncsn_tf is in it as it stands here.
# make soak: train, sample, evaluate, export and serve in turns for MINUTES, and look for growth.
# make reliability: inject faults into commands, and write the table of docs/reliability.md.
# make test-addons: what depends on the packages, on those of TensorFlow Addons, in .venv-addons.
# make test-app: the page of `ncsn app` in a browser, in .venv-app, which has Gradio.
# make docs: the pages of docs/, with the library's docstrings, in build/site; warnings are errors.
# make requirements: requirements*.txt from pyproject.toml.

CANDIDATES := python3.12 python3.13 python3.11 python3
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

CANDIDATES_ADDONS := python3.11 python3.10 python3
SUPPORTED_ADDONS := import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))
PYTHON_ADDONS ?= $(shell for p in $(CANDIDATES_ADDONS); do \
	$$p -c '$(SUPPORTED_ADDONS)' 2>/dev/null && echo $$p && break; done)
BIN_ADDONS := .venv-addons/bin
# Where Keras or TensorFlow itself differ: layers, networks, optimizers, the step, checkpoints, export,
# and what the two package sets exchange.
TESTS_ADDONS := tests/test_addons.py tests/test_package_sets.py tests/backend/test_compat.py \
	$(addprefix tests/models/test_,layers.py networks.py ncsnpp.py third_generation_layers.py) \
	tests/serving/test_export.py \
	$(addprefix tests/training/test_,checkpoints.py loop.py optimizers.py state.py step.py)

# Three processes for two cores: a quarter of the time a test waits, for files and other processes. A
# file is for one of them, which shares its fixtures. Files begin in the order of conftest.py: sorted
# by their numbers of tests, long files of few tests would begin last, and leave a process alone.
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-color test test-slow soak reliability test-addons test-app docs requirements format clean

demo: .venv/installed
	$(BIN)/python train.py --flagfile=digits_few_steps --workdir=demo/run
	$(BIN)/python sample.py --workdir=demo/run --num_samples=64 --out=demo/samples.png
	$(BIN)/python sample.py --saved_model --workdir=demo/run --num_samples=16 --out=demo/saved_model.png
	@echo "Look at demo/samples.png and demo/saved_model.png"

# Cats drawn by David Revoy, CC-BY-4.0: docs/cats.md.
demo-color: .venv/cats
	$(BIN)/python train.py --dataset=robohash_cats --workdir=demo-color/run --noexport
	$(BIN)/python sample.py --workdir=demo-color/run --num_samples=64 --out=demo-color/samples.png
	$(BIN)/python sample.py --workdir=demo-color/run --label=each --guidance=1.5 --num_samples=4 \
		--out=demo-color/classes.png
	$(BIN)/python -c "import ncsn_tf, numpy as np; \
		cats = ncsn_tf.load_source('robohash_cats', 'test', image_size=16, channels=3); \
		np.savez('demo-color/cats.npz', images=cats.images.pixels(np.arange(8)))"
	$(BIN)/python sample.py --workdir=demo-color/run --inpaint=demo-color/cats.npz --mask=right \
		--sampler=ald --num_samples=24 --out=demo-color/completed.png
	@echo "Look at samples.png, classes.png and completed.png in demo-color"

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(SPREAD)

test-slow: .venv/installed
	$(BIN)/python -m pytest $(SPREAD) -m slow

MINUTES ?= 30
soak reliability: export PYTHONPATH := .:tests:tests/training:tests/serving:tests/faults
soak reliability: export TF_CPP_MIN_LOG_LEVEL := 2
soak reliability: export CUDA_VISIBLE_DEVICES :=

soak: .venv/installed
	$(BIN)/python tests/faults/soak.py $(MINUTES)

reliability: .venv/installed
	$(BIN)/python tests/faults/table.py

# Where .venv exists too, each set also reads what the other one wrote.
test-addons: .venv-addons/installed
	OTHER_PYTHON=$(abspath $(wildcard $(BIN)/python)) \
		$(BIN_ADDONS)/python -m pytest $(SPREAD) $(TESTS_ADDONS)

# Needs neither .venv nor TensorFlow.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "Open build/site/index.html, or: python3 -m http.server --directory build/site (for its search)"

requirements:
	$(PYTHON) .ci/requirements.py

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11, 3.12 or 3.13"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv/cats: requirements-cats.txt .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cats.txt
	touch $@

# As .venv, with CUDA's libraries: 5 GB. Use it as .venv-gpu/bin/python train.py ...
.venv-gpu/installed: requirements-gpu.txt requirements.txt
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11, 3.12 or 3.13"; exit 1; }
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --upgrade pip
	.venv-gpu/bin/python -m pip install --quiet -r requirements-gpu.txt
	.venv-gpu/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv-addons/installed: requirements-addons.txt
	@test -n "$(PYTHON_ADDONS)" || { echo "error: needs Python 3.10 or 3.11 (PYTHON_ADDONS=)"; exit 1; }
	$(PYTHON_ADDONS) -m venv .venv-addons
	$(BIN_ADDONS)/python -m pip install --quiet --upgrade pip
	$(BIN_ADDONS)/python -m pip install --quiet -r requirements-addons.txt
	$(BIN_ADDONS)/python -m pip install --quiet --no-deps --ignore-requires-python --editable .
	touch $@

# What needs no Gradio of `ncsn app` is tested by `make test`.
test-app: .venv-app/installed
	.venv-app/bin/python -m pytest -m "slow or not slow" tests/commands/test_app_page.py tests/commands/test_app_ends.py

# The packages of .venv, by a path file, and before them those that Gradio needs, or wants in another
# version: the same ones as in an environment that stands alone, without 3 GB of them a second time.
.venv-app/installed: requirements-app.txt .venv/installed
	$(BIN)/python -m venv --clear --without-pip .venv-app
	packages='import sysconfig; print(sysconfig.get_path("purelib"))' && \
		$(BIN)/python -c "$$packages" > "$$(.venv-app/bin/python -c "$$packages")/venv.pth"
	.venv-app/bin/python -m pip install --quiet -r requirements-app.txt
	.venv-app/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv-docs/installed: requirements-docs.txt
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11, 3.12 or 3.13"; exit 1; }
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --upgrade pip
	.venv-docs/bin/python -m pip install --quiet -r requirements-docs.txt
	touch $@

clean:
	rm -rf .venv .venv-gpu .venv-addons .venv-app .venv-docs build demo demo-color \
		.pytest_cache .ruff_cache .import_linter_cache
