# Every command of the project. `make` or `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
MANIFEST ?= charts/examples/first-cluster.yaml
# Where everything lives that is built or fetched once: Go tools, helm, base images, client libraries. Kept by hash, outside the clone.
export MILLRACE_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/millrace

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: up
up: ## start the cluster and topics of charts/examples/first-cluster.yaml on this machine (MANIFEST=… for another)
	@scripts/need cargo cc
	@$(CARGO) build --release --locked -p broker -p operator --bins
	@exec target/release/millrace-operator local $(MANIFEST)

.PHONY: cluster
cluster: ## three brokers of one cluster on this machine: charts/examples/three-brokers.yaml
	@$(MAKE) --no-print-directory up MANIFEST=charts/examples/three-brokers.yaml

# A million client operations beside faults; prints each life and the operations per second.
SIMULATION = $(CARGO) test --locked --workspace --quiet --test sim -- --ignored --nocapture a_million

.PHONY: test
test: ## unit and integration tests; needs Rust, git, make and a C compiler, nothing more
	@scripts/need cargo cc
	@scripts/timed test $(CARGO) test --locked --workspace --quiet
	@scripts/timed simulation $(SIMULATION)

SEEDS ?= 200
.PHONY: sim
sim: ## simulated clusters under faults for as long as you like: make sim SEEDS=1000; SIM_SEED=7 make sim runs one again
	@scripts/need cargo cc
	@SIM_SEEDS=$(SEEDS) scripts/timed sim $(SIMULATION)

.PHONY: clients
clients: ## third-party clients against a real broker: kcat, Java, Python, Kafka's console tools (new and 2.5)
	@scripts/need cargo cc
	@scripts/timed clients-setup scripts/clients-setup
	@scripts/timed clients $(CARGO) test --locked --workspace --test clients -- --nocapture

.PHONY: e2e
e2e: ## a real Kubernetes in namespaces of this machine, or $KUBECONFIG; STORIES="first_cluster quiet" picks
	@scripts/need cargo cc go
	@scripts/timed e2e e2e/run $(STORIES)

.PHONY: lint
lint: ## rustfmt, clippy, licences, shell and chart checks
	@scripts/timed lint scripts/lint

.PHONY: generate
generate: ## write the CRDs (crds/ and the chart's copy) and CONFIGURATION.md from the code
	@$(CARGO) run --locked --quiet -p operator -- crd --output crds --output charts/millrace/files/crds
	@UPDATE_GENERATED=1 $(CARGO) test --locked --quiet -p protocol --test configuration

.PHONY: image
image: ## build the images `operator` and `broker` from the Dockerfile (docker, or buildah where there is no docker)
	@e2e/image

.PHONY: bench
bench: ## start time, memory, acks=all latency with sync, processor time, beside Apache Kafka; manifest to Ready; printed, never asserted
	@scripts/need cargo cc
	@scripts/timed bench bench/run

.PHONY: bench-cluster
bench-cluster: ## three brokers: replicated produce, failover, restart, beside three Kafka nodes; ARGS="--rounds 3 --partitions 1 1000" is a short run
	@scripts/need cargo cc
	@scripts/timed bench-cluster bench/run-cluster $(ARGS)

.PHONY: audit
audit: ## known vulnerabilities in dependencies (needs the advisory database from the network; not in CI)
	@$(CARGO) deny check advisories
