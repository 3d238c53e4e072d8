# Everything the course can do, on a machine with Python 3.11+ and make. `make` alone lists the targets.
#   PYTHON=python3.12 make env      another Python        make lab ARGS=--no-browser      on a server
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
REPO ?=
TAG ?= main
FOLDER ?=
WHAT ?= test test-shapes test-gpu test-colab test-newest test-hard test-browser

PY := $(VENV)/bin/python
READY := $(VENV)/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
LONGEST_FIRST := $(if $(NOTEBOOKS),$(shell ls -r $(NOTEBOOKS)))
TESTS := $(LONGEST_FIRST) $(wildcard tests/claims tests/notebooks tests/faults tests/unit)
NBVAL := --nbval --nbval-cell-timeout 900 --nbval-sanitize-with tests/notebooks/sanitize.cfg
STRICT := $(NBVAL) --nbval-current-env -p tests.claims.claims
STAGES := data vae decoder judge clip unet export fast export evaluate
OFFLINE := env -u COURSE_MODEL HF_HUB_OFFLINE=1
# One process a core, each with one thread and whole files, the longest first: models this small gain little from a
# second thread, and processes of several threads each get in each other's way. ARGS=-n0: one after the other.
WORKERS := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env lab test test-shapes test-gpu test-colab test-newest test-hard test-browser verify notebooks links handout collect bench train concepts clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

env: $(READY)  ## make the environment (.venv)

# torch comes first, from the first place that has it: a wheel on this machine; on Linux the build that
# fits the driver (without one the CPU build: the default one carries gigabytes of CUDA); the default.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "The course needs \
	Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1 | head -n 1). Name another one: \
	PYTHON=python3.12 make env"; exit 1; }
	@$(PY) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): some minutes the first time."
	@torch=$$(grep '^torch==' constraints.txt); \
	$(PY) -m pip install -q --no-index --no-deps "$$torch" 2>/dev/null || \
	{ [ "$$(uname -s)" = Linux ] && $(PY) -m pip install -q -c constraints.txt uv && \
	  $(PY) -m uv pip install -q --python $(PY) --torch-backend=auto "$$torch" 2>/dev/null; } || \
	$(PY) -m pip install -q -c constraints.txt "$$torch"
	@$(PY) -m pip install -q -c constraints.txt -e ".[dev]"
	@# Tests read OpenAI's vocabulary out of this package; what it asks for is another torch, and is not needed.
	@$(PY) -m pip install -q -c constraints.txt --no-deps clip-anytorch
	@touch $(READY)

lab: $(READY)  ## open the course in JupyterLab; ARGS=--no-browser for servers
	$(PY) -m tools.lab $(ARGS)

test: $(READY)  ## run all tests: units, faults, the notebooks' form, the notebooks themselves (strict nbval)
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest $(WORKERS) $(STRICT) $(TESTS) $(ARGS)

test-shapes: $(READY)  ## run the lessons on a random model of Stable Diffusion 1.5's shape
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal tests/shapes $(ARGS)

# worksteal and not loadfile: the lessons are tests of one file. ARGS=--cut ends trainings after a few steps.
test-gpu: $(READY)  ## run the lessons and helpers on a graphics card, else a pretend one; ARGS=--float32
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal --gpu tests/gpu $(ARGS)

test-colab: $(VENV)-colab/.ready  ## run the notebooks on Google Colab's Python and versions
test-newest: $(VENV)-newest/.ready  ## run the notebooks on the newest versions
test-colab test-newest: test-%:
	COURSE_VERSIONS=$* JUPYTER_PATH=$(abspath $(VENV)-$*)/share/jupyter $(OFFLINE) OMP_NUM_THREADS=1 \
	$(PY) -m pytest $(WORKERS) $(NBVAL) --nbval-kernel-name course $(LONGEST_FIRST) tests/versions $(ARGS)

$(VENV)-%/.ready: $(READY) tests/versions/environment.py tests/versions/colab.txt
	@$(PY) tests/versions/environment.py $* $(VENV)-$*
	@touch $@

test-hard: $(READY)  ## the trials of bad input, hostile files, faults and threads at their full counts, some minutes
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest $(WORKERS) -m hard tests/unit tests/faults $(ARGS)

test-browser: $(READY)  ## move every panel in a real browser; installs Chromium where that is possible
	@$(PY) -m tools.browser
	$(OFFLINE) $(PY) -m pytest tests/browser $(ARGS)

verify: $(READY)  ## run all of these tests and write into the README what passed; WHAT="test-colab": only this
	@set -e; for what in $(WHAT); do $(MAKE) $$what; $(PY) -m tools.verified $$what; done

notebooks: $(READY)  ## execute the notebooks and save them with their outputs
	$(OFFLINE) $(PY) -m tools.execute_notebooks $(NOTEBOOKS)

links: $(READY)  ## write badges and setup cells; REPO=owner/name [TAG=v1] changes the address
	$(PY) -m tools.setup_cell $(if $(REPO),$(REPO) $(TAG))

handout: $(READY)  ## write handout/: the notebooks without worked solutions; handout_key.md has these
	$(PY) -m tools.handout

collect: $(READY)  ## turn what a class handed in into a table and a page: FOLDER=path
	$(PY) -m tools.collect $(FOLDER)

bench: $(READY)  ## measure speed and memory, write the README's table; ARGS="picture growth": only these
	$(OFFLINE) $(PY) -m benchmarks $(ARGS)

train: $(READY)  ## train the postcard model from nothing, for hours; goes on where it was stopped. ARGS: --preset gpu
	@set -e; for stage in $(STAGES) "evaluate --variant fast"; do $(PY) -m training.$$stage $(ARGS); done

concepts: $(READY)  ## train the concept library anew, some minutes; ARGS="teal windmill": only these
	$(OFFLINE) $(PY) -m tools.make_concepts $(ARGS)

clean:  ## remove the environment and caches (training runs stay)
	rm -rf $(VENV) $(VENV)-colab $(VENV)-newest build dist *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
