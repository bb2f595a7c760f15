# Each target says what it does: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# A wheel folder (PIP_FIND_LINKS) or an index (UV_TORCH_BACKEND=cpu) may hold a torch without CUDA.
FIND_LINKS := $(addprefix --find-links ,$(PIP_FIND_LINKS))
T ?= tests
JOBS ?= $(shell expr $$(nproc) + 1)
# One process more than cores, because many tests wait. A chosen test runs alone, where a debugger works.
BESIDE := $(if $(filter tests,$(T)),-n $(JOBS))
# Says since when the fast tests have passed, by `make test` or `make check`: they need not run twice on the same files.
FAST_TESTS := $(VENV)/.fast-tests-passed
CHANGED = find . -newer $(FAST_TESTS) -type f -not -path '*/.*' -not -path '*/__pycache__/*' -print -quit
# Where the environment keeps no byte code, the hundreds of processes that tests start would compile torch and MLflow anew.
test check: export PYTHONDONTWRITEBYTECODE :=
test check: export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/bytecode
DEMO_SECONDS ?=
SKAB_DIR ?= ../shared/data/skab
MARP_VERSION := 4.5.1

.PHONY: help demo demo-rollback test check types attacks faults faults-long bench bench-outbox bench-features bench-scoring bench-simulation bench-polling bench-jitter \
  bench-edge bench-peers bench-serving bench-fleet bench-soak bench-audit bench-ingest model-experiments proto schema dashboards dashboards-check pictures diagram \
  slides plots kafka images images-test env package package-test lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/.installed: requirements.txt requirements.in requirements-dev.in $(wildcard */pyproject.toml)
	@echo "Installing into $(VENV): 1 to 10 minutes, most of it torch"
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install $(if $(CI),--quiet) --python $(BIN)/python $(FIND_LINKS) -c requirements.txt -r requirements.in
	@touch $@

demo: $(VENV)/.installed ## the whole loop on this machine; DEMO_SECONDS=60 ends by itself and checks every claim
	$(BIN)/python -m demo --seconds "$(DEMO_SECONDS)" --recordings "$(SKAB_DIR)"

demo-rollback: $(VENV)/.installed ## a model that drifts: approved, rolled out, stopped at the canary site, taken back with no human
	$(BIN)/python -m demo.rollback

test: $(VENV)/.installed ## every test on every core, real services included; T=path::name runs one, JOBS=0 one by one
	@touch $(VENV)/.begun
	$(BIN)/python -m pytest $(BESIDE) $(T)
	@$(if $(filter tests,$(T)),mv $(VENV)/.begun $(FAST_TESTS))

check: $(VENV)/.installed ## ruff, mypy, import contracts, generated files, fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types
	$(BIN)/lint-imports --no-cache
	@if [ -e $(FAST_TESTS) ] && [ -z "$$($(CHANGED))" ]; then echo "fast tests: passed before, no file has changed since"; else \
	  touch $(VENV)/.begun && set -x && $(BIN)/python -m pytest -q -m "not slow" tests/unit tests/golden && mv $(VENV)/.begun $(FAST_TESTS); fi

types: $(VENV)/.installed ## mypy alone; what has not changed since its last run it need not read again
	$(BIN)/mypy shared/src edge_agent/src control_plane/src demo bench dashboards

attacks: $(VENV)/.installed ## the attack table: tampered, stolen, forged, replayed, bombs; exit 1 when anything is accepted
	@$(BIN)/python -m bench.attacks

faults: $(VENV)/.installed ## the fault table: real Kafka, agents, ingest and plants; exit 1 when a row is lost, doubled or unexplained
	@$(BIN)/python -m bench.faults

faults-long: $(VENV)/.installed ## the same with 20 seeds of each fault, then the fault tests at length (hours)
	@$(BIN)/python -m bench.faults --seeds 20
	OUTBOX_EXAMPLES=500 OUTBOX_ROUNDS=60 CONSUMER_KILLS=50 CONSUMER_RECORDS=1000000 BAD_DAYS_POLLS=100000 IDENTITY_CYCLES=10000 \
	  $(BIN)/python -m pytest --timeout 3600 tests/fault tests/unit/test_simulation_identity.py

# Without bench-soak, which takes an hour, and bench-peers and bench-serving, which install another program.
bench: bench-outbox bench-features bench-scoring bench-simulation bench-polling bench-jitter bench-edge bench-audit ## the benchmarks; each prints figures beside their limits, then one line of JSON

bench-outbox: $(VENV)/.installed ## rows/s that the outbox commits, against a bare SQLite table
	@$(BIN)/python -m bench.outbox

bench-simulation: $(VENV)/.installed ## component-rows/s of a simulated fleet, against only drawing its noise
	@$(BIN)/python -m bench.simulation

bench-polling: $(VENV)/.installed ## points/s and CPU per point of the Modbus source, against a bare pymodbus loop
	@$(BIN)/python -m bench.polling

bench-jitter: $(VENV)/.installed ## how late polls begin while Kafka is away, against while it is there
	@$(BIN)/python -m bench.poll_jitter

bench-edge: $(VENV)/.installed ## the whole agent: points/s, CPU, memory, latency to an acknowledged record, catch-up
	@$(BIN)/python -m bench.edge

bench-ingest: $(VENV)/.installed ## records/s and core from Kafka into the lake, against a bare consumer that discards
	@$(BIN)/python -m bench.ingest

bench-features: $(VENV)/.installed ## rows/s of the features, against a plain numpy rolling mean of the same windows
	@$(BIN)/python -m bench.features

bench-scoring: $(VENV)/.installed ## windows/s from raw values to what may be said of them, against a bare onnxruntime call
	@$(BIN)/python -m bench.scoring

bench-audit: $(VENV)/.installed ## 100,000 predictions verified, in seconds; a prediction put on the record, in microseconds
	@$(BIN)/python -m bench.audit

bench-serving: $(VENV)/.installed ## inference beside MLServer 1.7 (fetched into .bench/), a bare gRPC echo, bare onnxruntime; audit on
	@$(BIN)/python -m bench.serving

bench-peers: $(VENV)/.installed ## the agent beside ThingsBoard Gateway (fetched into .bench/): CPU per point, and both under three faults
	@$(BIN)/python -m bench.peers

bench-fleet: $(VENV)/.installed ## a roll-out to 1,000 enrolled sites (SITES=n): seconds, bytes and the control plane's memory a site
	@$(BIN)/python -m bench.fleet

bench-soak: $(VENV)/.installed ## a week in an hour (50 minutes): memory and files stay flat; draws docs/pictures/soak.png
	@$(BIN)/python -m bench.soak

proto: $(VENV)/.installed ## regenerate shared/src/shared/wire from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=shared/src --pyi_out=shared/src --grpc_python_out=shared/src proto/shared/wire/*.proto

schema: $(VENV)/.installed ## regenerate docs/reactor_config.schema.json
	$(BIN)/python -c 'import json; from shared.reactor_config import json_schema; print(json.dumps(json_schema(), indent=2))' > docs/reactor_config.schema.json

dashboards: $(VENV)/.installed ## regenerate infra/grafana and the exported JSON from reactor_config.yaml
	$(BIN)/python -m dashboards

dashboards-check: $(VENV)/.installed ## every query of every dashboard and rule on a real InfluxDB and Prometheus, against the lake
	@$(BIN)/python -m dashboards.check

pictures: $(VENV)/.installed ## take docs/pictures anew from a running demo (about 4 minutes)
	PICTURES=$(CURDIR)/docs/pictures $(BIN)/python -m pytest tests/e2e/test_viewer.py tests/e2e/test_console_rollouts.py
	PICTURES=$(CURDIR)/docs/pictures $(BIN)/python -m pytest tests/e2e/test_demo.py::test_claims_hold_when_an_agent_and_the_centre_are_killed

diagram: ## draw docs/architecture_diagram.svg and .png from its text (Graphviz)
	neato -n2 -Tsvg docs/architecture_diagram.dot -o docs/architecture_diagram.svg
	neato -n2 -Tpng -Gdpi=110 docs/architecture_diagram.dot -o docs/architecture_diagram.png

slides: ## docs/pm-stack-smr-pitch-deck.pdf from docs/slides.md (npm fetches Marp; Chromium prints)
	CHROME_PATH=$${CHROME_PATH:-$$(command -v chromium)} npx --yes @marp-team/marp-cli@$(MARP_VERSION) --pdf --allow-local-files \
	  docs/slides.md -o docs/pm-stack-smr-pitch-deck.pdf

plots: $(VENV)/.installed ## draw each component's life, sound and with each fault, into docs/pictures
	$(BIN)/python -m demo.plots docs/pictures

model-experiments: $(VENV)/.installed ## the simulated fleet of docs/model_experiments.md: histories, the table, its pictures
	$(BIN)/python -m bench.fleet_histories .bench/fleet
	$(BIN)/control-plane benchmark fleet --data .bench/fleet --pictures docs/pictures

package: $(VENV)/.installed ## the agent's .deb and the three wheels, into dist/ (a minute)
	@packaging/build.sh

package-test: package ## install, upgrade, remove, purge the .deb in a clean Debian that boots (root, systemd-container; 10 minutes)
	@$(BIN)/python -m bench.packages

kafka: ## Apache Kafka on 127.0.0.1:9092 with its topics, until Ctrl-C (Java 17; Maven fetches it once)
	@infra/kafka/kafka.sh start

images: $(VENV)/.installed ## build the five images with buildah (BASE_IMAGE=...; without it on a Debian 12 made here, as root)
	@infra/images/build.sh

images-test: $(VENV)/.installed ## run each image under its restrictions and call it, then what runs here of the compose file; sizes and start
	@$(BIN)/python -m bench.images

env: ## make the secrets of infra/docker-compose.yml, each once, in infra/.env
	@infra/make_env.sh

lock: $(VENV)/.installed ## pin every dependency anew in requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-package pm-stack-smr-shared --no-emit-package pm-stack-smr-edge-agent --no-emit-package pm-stack-smr-control-plane \
	  -o requirements.txt requirements.in

clean: ## remove the environment and what the demo left
	rm -rf $(VENV) .demo
