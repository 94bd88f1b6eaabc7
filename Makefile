# The two commands of the README are `make demo` and `make test`; the rest is for people who change Mica.
CARGO ?= cargo
.PHONY: help demo test soak cluster lint fmt bench bench-agent bench-coordinator bench-driver clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## Show Mica at work on simulated GPUs; ends by itself within two minutes (KEEP=1 leaves it running)
	$(CARGO) build --locked --workspace --lib --bins
	target/debug/mica-demo $(if $(KEEP),--keep) $(DEMO_ARGS)

test: ## Build and run every test, installing what they need
	tests/run

soak: ## Live through histories of a GPU that make test has not seen, without end (MICA_HISTORIES=N: so many)
	MICA_HISTORIES=$(or $(MICA_HISTORIES),0) MICA_HISTORIES_FROM=$(shell date +%s)000000 \
		$(CARGO) test --locked --workspace --test histories -- --nocapture

cluster: ## Bring up a real two-node Kubernetes with Mica in target/cluster, to keep; needs root (tests/cluster/README.md)
	$(CARGO) build --locked --workspace --lib --bins
	tests/cluster/up --mica target/cluster

lint: ## Formatting, lints and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

fmt: ## Format the source
	$(CARGO) fmt --all

bench: ## Time the planner on clusters of many sizes, release build (BENCH_ARGS=FOLDER times instance files)
	$(CARGO) run --release --locked -p mica-planner --example bench -- $(BENCH_ARGS)

bench-coordinator: ## Memory and time of the coordinator with 1,000 nodes and 10,000 pods, release build
	$(CARGO) test --release --locked -p mica-coordinator --lib -- --ignored --nocapture a_thousand_nodes

bench-driver: ## Time calls of the simulated driver while another process changes the node, release build
	$(CARGO) build --release --locked -p nvml-sim --lib
	$(CARGO) run --release --locked -p nvml-sim --example bench

bench-agent: ## Time the agent on a simulated node, release build: a repartition, memory and CPU when idle
	$(CARGO) bench --locked -p mica-agent --bench agent

clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf .venv
