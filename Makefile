# The commands to remember. Each installs what it lacks first (scripts/setup.sh).

# Ends the demo after this many seconds; without it, Ctrl-C does.
DEMO_SECONDS ?=
# The stress tests: `full` for every combination, words that a case's description must hold, and
# what the faults are drawn from.
STRESS ?=
CASES ?=
STRESS_SEED ?= 1
# Options of the fault tests.
CHAOS ?=
# Options of the history benchmark.
HISTORY ?=
# Options of the benchmark of receiving.
RECEIVE ?=
# Options of the dashboards' benchmark.
DASHBOARDS ?=
# Options of the detectors' soak.
SOAK ?=
# How long each fuzz target runs.
FUZZ_SECONDS ?= 60

target := $(or $(CARGO_TARGET_DIR),target)
tools := $(CURDIR)/target/tools/bin

.DEFAULT_GOAL := help
.PHONY: help demo test stress chaos lint bench bench-history bench-dashboards soak fuzz generate env grafana \
	grafana-shots instructions yamcs

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Flies 100 satellites into a private database and shows it, until Ctrl-C or DEMO_SECONDS
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	@DEMO_SECONDS=$(DEMO_SECONDS) exec $(target)/release/demo

test: ## Runs all tests
	@scripts/setup.sh postgres openssl tshark oracles stand-in network systemd valgrind promtool \
		pgbouncer yamcs tiers
	cargo build --workspace --bins
	cargo build --release -p orbitstream-protocol --example parse_frames
	cargo test --workspace --no-fail-fast

stress: ## Loses packets on purpose, in many ways; STRESS=full for all, CASES="reorder 5000" for some
	@scripts/setup.sh postgres network
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	@STRESS=$(STRESS) STRESS_SEED=$(STRESS_SEED) exec $(target)/release/stress $(CASES)

chaos: ## Breaks database, network and receiver in 100 random rounds, and looks for every row
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	$(target)/release/chaos $(CHAOS)

lint: ## Checks format, lints, documentation, licences and sources of dependencies
	@scripts/setup.sh cargo-deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace
	$(tools)/cargo-deny --all-features check bans licenses sources

bench: ## Runs the benchmarks, with figures in target/bench/; takes an hour or so
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	cargo bench -p orbitstream-protocol -p orbitstream-receiver -p orbitstream-satsim
	$(target)/release/bench-receive $(RECEIVE)
	@for what in ingest latency memory loss scale; do $(target)/release/bench $$what || exit 1; done

bench-history: ## Asks a month of history on three kinds of tables; takes half an hour
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	$(target)/release/bench-history $(HISTORY)

bench-dashboards: ## Refreshes three dashboards each second beside 1,000 satellites; takes some five minutes
	@scripts/setup.sh postgres oracles
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	$(target)/release/bench-dashboards $(DASHBOARDS)

soak: ## Flies many orbits past the detectors, and counts what they find and what they make up
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	$(target)/release/soak $(SOAK)

fuzz: ## Runs every fuzz target for FUZZ_SECONDS
	@scripts/setup.sh cargo-fuzz
	@export RUSTC_BOOTSTRAP=1 PATH="$(tools):$$PATH"; \
	targets=$$(cargo fuzz list) || exit 1; \
	for name in $$targets; do \
		echo "fuzz: $$name for $(FUZZ_SECONDS) s"; \
		cargo fuzz run "$$name" -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

yamcs: ## Lets Yamcs read what satsim sends, with the XTCE document, and compares every value
	@scripts/setup.sh yamcs
	cargo build --workspace --bin satsim
	ORBITSTREAM_YAMCS=required cargo test -p orbitstream-harness --test yamcs -- --nocapture

instructions: ## Records how many instructions a parsed frame takes; a test compares with that
	@scripts/setup.sh valgrind
	cargo build --release -p orbitstream-protocol --example parse_frames
	RECORD_INSTRUCTIONS=1 cargo test -p orbitstream-harness --test instructions

generate: ## Writes the files that come from the packet declarations
	cargo run -p orbitstream-harness --bin generate

env: ## Makes .env with random passwords for docker compose; never changes one that is there
	@scripts/env.sh

grafana: ## Starts the Grafana that is installed, on DATABASE_URL or the running demo's database
	cargo build --release -p orbitstream-harness --bin grafana
	@exec $(target)/release/grafana

grafana-shots: ## Draws every dashboard with live data (needs Grafana and Chromium on the PATH)
	@scripts/setup.sh postgres
	cargo build --release -p orbitstream-receiver -p orbitstream-satsim -p orbitstream-harness --bins
	$(target)/release/grafana-shots
