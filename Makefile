# The one front door. Recipes are a line each; what they do lives in Python.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ENGINES := .venv-engines/bin
TRIAL = .eyestream/trials/$(ENCODER)
lower = $(shell echo $(1) | tr A-Z a-z)
HERE := --require --ignore tests/engines --ignore tests/cluster tests
PREFLIGHT := services/eyestream/apps/local/preflight.py
# A packaged Python may be told to write no bytecode; every Ray process would then compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help engines-setup test-engines engines-report gpu setup demo trial up down status test test-cluster unit lint types fmt pictures check drill load bench chart render lock

help:  ## show this help
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk 'BEGIN{FS=":.*?## "}{printf "  make %-12s %s\n",$$1,$$2}'

setup: .venv/.ready  ## create .venv with the pinned, hashed packages

demo: setup $(if $(ENCODER),trial)  ## the whole line on real parts, from drawn photographs to a clinician's table; PICTURES=folder adds yours, ENCODER=name CHECKPOINT=file tries another encoder
	$(if $(CHECKPOINT),$(if $(ENCODER),,$(error CHECKPOINT needs ENCODER=name: `eyestream-engines inspect $(CHECKPOINT)` says whose it is)))
	$(BIN)/eyestream demo $(if $(PICTURES),--pictures "$(PICTURES)") $(if $(ENCODER),--trial "$(TRIAL)")

trial: engines-setup
	$(ENGINES)/eyestream-engines trial "$(ENCODER)" $(foreach given,CHECKPOINT VOCABULARY PROGRAMME LABELS HEAD,$(if $($(given)),--$(call lower,$(given)) "$($(given))")) --output "$(TRIAL)"

up: setup  ## start the same stack and leave it running
	$(BIN)/eyestream local up

down:  ## stop it; its data stay
	$(BIN)/eyestream local down

status:  ## ask every part of it how it stands
	$(BIN)/eyestream local status

test: setup .venv/.browser lint types  ## everything that can be proven on this machine, the real parts included
	$(BIN)/python -m pytest $(HERE) -m "not stack and not serve" --numprocesses auto
	$(BIN)/python -m pytest $(HERE) -m "stack or serve"

test-cluster: setup  ## the chart on a real Kubernetes API server, without containers; builds it with Go, once
	PYTHONPATH=helm $(BIN)/python -m controlplane build
	$(BIN)/python -m pytest --require tests/cluster

engines-setup: .venv-engines/.ready  ## create .venv-engines with torch, to build and verify engines

test-engines: engines-setup  ## engines from checkpoint to published model, every family against its original
	$(ENGINES)/python -m pytest --confcutdir=tests/engines tests/engines

engines-report: engines-setup  ## measure every encoder from checkpoint to Triton's answer, into docs/engines.md; goes on where it was ended; CASES=names, MINUTES=n
	$(ENGINES)/eyestream-engines report $(CASES) $(if $(MINUTES),--minutes $(MINUTES))

gpu: engines-setup  ## compile encoders with TensorRT on this GPU, hold their answers and time them, into docs/gpu.md; ENCODERS=names, TRITON=path, MINUTES=n; without a GPU it says that it did not, REQUIRE=1 fails then, REHEARSE=names tries the steps
	$(ENGINES)/eyestream-engines gpu $(if $(REHEARSE),--rehearse $(REHEARSE),$(ENCODERS)) $(if $(TRITON),--triton "$(TRITON)") $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REQUIRE),--require)

unit: setup  ## what runs while writing: no servers
	$(BIN)/python -m pytest -m "not stack and not serve" tests/unit tests/seams

lint: setup  ## style, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs services build_engines loadtests tests examples benchmarks

types: setup  ## mypy --strict
	$(BIN)/mypy

fmt: setup  ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pictures: setup .venv/.browser  ## take the documentation's pictures of the dashboard anew, in the tests' browser
	DOCS_PICTURES=1 $(BIN)/python -m pytest --require tests/dashboard -k pictures_for_the_documentation

check: test  ## what CI runs

drill: setup  ## break every part while thousands of pictures flow, and count; PICTURES=n
	$(BIN)/eyestream drill $(if $(PICTURES),--pictures $(PICTURES))

load: setup  ## load on a line of its own, counted until each result was read; SCENARIO=name or file
	PYTHONPATH=loadtests $(BIN)/python -m eyestream_load $(or $(SCENARIO),clinic-morning)

bench: setup  ## figures of this machine, as ratios within one run
	$(BIN)/python benchmarks/run.py

chart: setup  ## generate the chart's schema, README, dashboards and goldens
	PYTHONPATH=helm $(BIN)/python -m chartkit generate
	PYTHONPATH=helm $(BIN)/python -m chartkit goldens

render: setup  ## print the manifests of one of the chart's shapes; SHAPE=minimal
	PYTHONPATH=helm $(BIN)/python -m chartkit render helm/eyestream/ci/$(or $(SHAPE),minimal)-values.yaml

lock: setup  ## pin and hash the packages anew
	$(BIN)/python requirements/lock.py

.venv/.ready: requirements/uv.txt requirements/dev.txt pyproject.toml
	$(PYTHON) $(PREFLIGHT)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/uv.txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.browser: requirements/browser.txt .venv/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/browser.txt
	@touch $@

.venv-engines/.ready: .venv/.ready requirements/engines-dev.txt
	$(PYTHON) -m venv .venv-engines
	$(BIN)/uv pip sync --quiet --python $(ENGINES)/python --require-hashes --compile-bytecode requirements/uv.txt requirements/engines-dev.txt
	$(BIN)/uv pip install --quiet --python $(ENGINES)/python --no-deps --no-build-isolation --editable .
	@touch $@
