# Everything the course can do, on a machine with Python 3.11+ and make. `make` alone lists the targets.
#   PYTHON=python3.12 make env      another Python        make lab ARGS=--no-browser      on a server
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
REPO ?=
TAG ?= main
FOLDER ?=
VERSIONS ?=
WHAT ?= test test-shapes test-gpu test-colab test-newest test-hard test-browser

PY := $(VENV)/bin/python
READY := $(VENV)/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
LONGEST_FIRST := $(if $(NOTEBOOKS),$(shell ls -r $(NOTEBOOKS)))
NBVAL := --nbval --nbval-cell-timeout 900 --nbval-sanitize-with tests/notebooks/sanitize.cfg
# In the order of what each stands on: training/README.md.
STAGES := data judge vae clip decoder unet export fast export evaluate
OFFLINE := env -u COURSE_MODEL HF_HUB_OFFLINE=1
# One word for the shell, whatever blanks and marks are in it: what a user names, and the way to this folder.
quoted = '$(subst ','\'',$(1))'
# As tools/course.py has it for `make test`. ARGS=-n0: one after the other.
WORKERS := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env lab lint format test test-fast test-shapes test-gpu test-colab test-newest test-hard test-browser web verify notebooks links handout slides collect site bench train concepts clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

env: $(READY)  ## make the environment (.venv)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -m tools.course --venv $(VENV) env

lab: $(READY)  ## open the course in JupyterLab; ARGS=--no-browser for servers
	$(PY) -m tools.lab $(ARGS)

lint: $(READY)  ## the rules of pyproject.toml over code and notebooks, and the layout of code, in a second
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

format: $(READY)  ## lay code out as `make lint` asks for it, and mend what can be mended of its rules
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

test: $(READY)  ## run all tests: units, faults, the notebooks' form, the notebooks themselves (strict nbval)
	$(PY) -m tools.course --venv $(VENV) test $(ARGS)

# Form of the notebooks, checks of exercises, the world, files and formats, figures that need no trained model: 163 s of processor time.
FAST := checks checks_concepts checks_conditioning checks_diffusion checks_latents checks_sampling collect concept_files course diffusion \
	figures_conditioning figures_diffusion figures_intervals files formats inputs job my_course pictures postcards runtime
test-fast: $(READY)  ## a third of the tests in under two minutes on two cores: nothing is trained, no lesson is run
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest $(WORKERS) tests/notebooks $(FAST:%=tests/unit/test_%.py) $(ARGS)

test-shapes: $(READY)  ## run the lessons on a random model of Stable Diffusion 1.5's shape
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal tests/shapes $(ARGS)

# worksteal and not loadfile: the lessons are tests of one file. ARGS=--cut ends trainings after a few steps;
# VERSIONS=colab runs the lessons with the packages that a Colab runtime holds.
test-gpu: $(READY) $(VERSIONS:%=$(VENV)-%/.ready)  ## run the lessons and helpers on a graphics card, else a pretend one; ARGS=--float32
	$(if $(VERSIONS),COURSE_VERSIONS=$(VERSIONS) JUPYTER_PATH=$(call quoted,$(abspath $(VENV)-$(VERSIONS))/share/jupyter)) $(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal --gpu tests/gpu $(ARGS)

test-colab: RIVALS := -p tests.claims.claims
test-colab: $(VENV)-colab/.ready  ## run the notebooks on Google Colab's versions, and every control of their claims
test-newest: $(VENV)-newest/.ready  ## run the notebooks on the newest versions
test-colab test-newest: test-%:
	COURSE_VERSIONS=$* JUPYTER_PATH=$(call quoted,$(abspath $(VENV)-$*)/share/jupyter) $(OFFLINE) OMP_NUM_THREADS=1 \
	$(PY) -m pytest $(WORKERS) $(NBVAL) --nbval-kernel-name course $(RIVALS) $(LONGEST_FIRST) tests/versions $(ARGS)

$(VENV)-%/.ready: $(READY) tests/versions/environment.py tests/versions/colab.txt
	@$(PY) tests/versions/environment.py $* $(VENV)-$*
	@touch $@

test-hard: $(READY)  ## the trials of bad input, hostile files, faults and threads at their full counts, some minutes
	$(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest $(WORKERS) -m hard tests/notebooks tests/unit tests/faults $(ARGS)

test-browser: $(VENV)/.web  ## move every panel, draw on the page, read the site, in a real browser; installs Chromium where it can
	@$(PY) -m tools.browser
	$(OFFLINE) $(PY) -m tools.web build
	@$(MAKE) --no-print-directory site ARGS=
	$(OFFLINE) $(PY) -m pytest tests/browser tests/web $(ARGS)

web: $(VENV)/.web  ## build the page that draws in a browser and serve it on 127.0.0.1; ARGS=8123: at this port
	$(OFFLINE) $(PY) -m tools.web $(ARGS)

$(VENV)/.web: $(READY)
	@$(PY) -m pip install -q -c constraints.txt -e ".[web]"
	@touch $@

verify: $(READY)  ## run all of these tests and write into the README what passed; WHAT="test-colab": only this
	@set -e; for what in $(WHAT); do $(MAKE) $$what; $(PY) -m tools.verified $$what; done

notebooks: $(READY)  ## execute the notebooks and save them with their outputs
	$(OFFLINE) $(PY) -m tools.execute_notebooks $(NOTEBOOKS)

links: $(READY)  ## write badges and setup cells; REPO=owner/name [TAG=v1] changes the address
	$(PY) -m tools.setup_cell $(if $(REPO),$(call quoted,$(REPO)) $(call quoted,$(TAG)))

handout: $(READY)  ## write handout/: the notebooks without worked solutions; handout_key.md has these
	$(PY) -m tools.handout

slides: $(READY)  ## write slides/: the core path of each lesson, to show in class; ARGS=node_modules: without a network
	$(PY) -m tools.slides $(ARGS)

collect: $(READY)  ## turn what a class handed in into a table and a page: FOLDER=path
	$(PY) -m tools.collect $(if $(FOLDER),$(call quoted,$(FOLDER)))

$(VENV)-site/.ready: site/requirements.txt
	$(PYTHON) -m venv $(VENV)-site
	$(VENV)-site/bin/python -m pip install -q -r site/requirements.txt
	@touch $@

site: $(VENV)-site/.ready  ## build the lessons and pages as a site to read, site/build/html; ARGS=linkcheck
	$(VENV)-site/bin/python -m tools.site $(ARGS)

bench: $(READY)  ## measure speed and memory, write the tables of it; ARGS="picture growth": only these
	$(OFFLINE) $(PY) -m benchmarks $(ARGS)

train: $(READY)  ## train the postcard model from nothing, for hours, in the place of the released one; goes on where it was stopped. ARGS: --preset gpu
	@set -e; for stage in $(STAGES) "evaluate --variant fast"; do $(PY) -m training.$$stage $(ARGS); done

concepts: $(READY)  ## train the concept library anew, more than an hour; ARGS="teal windmill": only these
	$(OFFLINE) $(PY) -m tools.make_concepts $(ARGS)

clean:  ## remove the environment and caches (training runs stay)
	rm -rf $(VENV) $(VENV)-colab $(VENV)-newest $(VENV)-site site/build slides web/node_modules web/model web/dist build dist *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
