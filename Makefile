# All targets use the virtual environment .venv, which is created with PYTHON (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# voxel size in mm, and further options of bids-qcm, such as --method all
DEMO_RESOLUTION ?= 2.5
DEMO_OPTIONS ?=
BENCH_RESULTS := benchmarks/results
# --bench-threads N, --bench-resolution MM, or any pytest option, such as -k laplacian
BENCH_OPTIONS ?=
STUDY = $(BIN)/python -m benchmarks.phantom_study --results $(BENCH_RESULTS)
DOCS_BUILT := docs/_build docs/api docs/auto_examples docs/sg_execution_times.rst
# tests that need a container engine or a scheduler and have separate targets
DEPLOYMENT := tests/deployment
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= bids-qcm:$(VERSION)
SIF := build/bids-qcm.sif
LOWEST := .venv-lowest
DEPLOYED = BIDS_QCM_IMAGE=$(IMAGE) BIDS_QCM_SIF=$(SIF) $(BIN)/python -m pytest -n 0

LOCK := $(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'

.PHONY: help demo study-demo test test-slow coverage fuzz bench phantom-study lint docs audit lock boutiques dist test-dist test-lowest push-dist \
	image test-image test-built-image save-image push-image sif test-apptainer test-slurm clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV), which takes a minute or two"
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	touch $@

# environment with a group of optional dependencies: dev, docs or bench
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV), which takes a minute or two"
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$*]'
	touch $(VENV)/.installed $@

demo: $(VENV)/.installed  ## make a phantom dataset and map its conductivity with the default methods
	rm -rf $(DEMO)
	$(BIN)/bids-qcm-phantom create $(DEMO)/phantom --resolution $(DEMO_RESOLUTION)
	$(BIN)/bids-qcm $(DEMO)/phantom $(DEMO)/maps participant --work-dir $(DEMO)/work $(DEMO_OPTIONS)
	@echo "The maps (S/m) are $(DEMO)/maps/sub-01/anat/*_condmap.nii.gz, the report is $(DEMO)/maps/sub-01.html"

study-demo: $(VENV)/.installed  ## make a study of phantoms with groups and sessions, and analyse it
	rm -rf $(DEMO)/study $(DEMO)/study-maps $(DEMO)/study-maps-score
	$(BIN)/bids-qcm-phantom create $(DEMO)/study --participants 6 --sessions 2 --lesion --resolution 4
	$(BIN)/bids-qcm $(DEMO)/study $(DEMO)/study-maps participant --fit-radius 9 --integral-radius 9 \
		--work-dir $(DEMO)/study-work
	$(BIN)/bids-qcm $(DEMO)/study $(DEMO)/study-maps group --differences
	$(BIN)/bids-qcm-phantom score $(DEMO)/study $(DEMO)/study-maps
	@echo "The page of the study is $(DEMO)/study-maps/group_condmap.html"

test: $(VENV)/.installed-dev  ## run the fast tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' --ignore $(DEPLOYMENT)

test-slow: $(VENV)/.installed-dev  ## run the slow tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow --ignore $(DEPLOYMENT)

fuzz: $(VENV)/.installed-dev  ## test ten thousand damaged inputs; takes an hour
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 0 tests/test_fuzz.py

coverage: $(VENV)/.installed-dev  ## run the fast tests and measure their branch coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 2 --dist worksteal -m 'not slow' --ignore $(DEPLOYMENT)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

bench: $(VENV)/.installed-bench  ## measure the speed of the reconstruction on a 1 mm head; takes twenty minutes
	mkdir -p $(BENCH_RESULTS)
	$(BIN)/python -m pytest benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' \
		--timeout 0 --verbose --benchmark-quiet --benchmark-json $(BENCH_RESULTS)/latest.json $(BENCH_OPTIONS)

phantom-study: $(VENV)/.installed  ## compare the methods on phantoms with both forward models; takes a day
	$(STUDY) --forward-model full-wave --seeds 3 --no-search \
		--labels true shifted smoothed --b1 none measured model
	$(STUDY) --forward-model full-wave
	$(STUDY) --forward-model convection-reaction --seeds 3 --no-search \
		--labels true shifted smoothed --field-strength 3
	$(STUDY) --forward-model convection-reaction --field-strength 3

lint: $(VENV)/.installed-dev  ## check style, spelling and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy

docs: $(VENV)/.installed-docs  ## build the documentation in docs/_build/html; warnings are treated as errors
	rm -rf $(DOCS_BUILT)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky docs docs/_build/html

audit: $(VENV)/.installed  ## search for known vulnerabilities of the dependencies; needs the network
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --skip-editable

lock: $(VENV)/.installed-dev  ## lock the newest versions of all dependencies for the image
	$(LOCK) pyproject.toml -o requirements.lock
	printf 'hatchling\nsetuptools\n' | $(LOCK) - -o requirements-build.lock

boutiques: $(VENV)/.installed  ## write the Boutiques descriptor of the command line
	$(BIN)/python -m bids_qcm.cli.boutiques > boutiques.json

dist: $(VENV)/.installed-dev  ## build wheel and sdist
	rm -rf dist
	$(BIN)/uv build --quiet

test-dist: dist  ## install the wheel in a separate environment, run it, and run the tests of the sdist
	$(DEPLOYED) $(DEPLOYMENT)/test_packages.py

test-lowest: $(VENV)/.installed-dev  ## run the fast tests with the oldest supported versions of all dependencies
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[test]'
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -m 'not slow' --ignore $(DEPLOYMENT)

push-dist: $(VENV)/.installed-dev
	$(BIN)/uv publish dist/*

image:  ## build the container image with Docker
	docker build --build-arg VERSION=$(VERSION) --build-arg TAG=$(IMAGE) \
		--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) -t $(IMAGE) .

test-image: image test-built-image  ## build the image and run it in the same way as on a cluster

test-built-image: $(VENV)/.installed-dev
	docker image inspect --format '{{.Size}} bytes' $(IMAGE)
	$(DEPLOYED) $(DEPLOYMENT)/test_image.py

save-image:
	docker save $(IMAGE) | gzip

push-image:
	docker tag $(IMAGE) $(REPOSITORY):$(VERSION)
	docker push $(REPOSITORY):$(VERSION)

sif: image  ## convert the image to an Apptainer file
	mkdir -p $(dir $(SIF))
	id=$$(docker image inspect --format '{{.Id}}' $(IMAGE)) && if [ "$$id" != "$$(cat $(SIF).id)" ]; then \
		apptainer build --force $(SIF) docker-daemon:$(IMAGE) && echo "$$id" > $(SIF).id; fi

test-apptainer: sif $(VENV)/.installed-dev  ## run the image with Apptainer, as root and as another user
	$(DEPLOYED) $(DEPLOYMENT)/test_apptainer.py

test-slurm: sif $(VENV)/.installed-dev  ## run on the Slurm cluster to which sbatch submits jobs
	sinfo
	$(DEPLOYED) $(DEPLOYMENT)/test_slurm.py

clean:  ## remove all files that the other targets created
	rm -rf $(VENV) $(LOWEST) build dist $(DEMO) $(BENCH_RESULTS) $(DOCS_BUILT) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
