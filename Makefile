# `make` lists what there is. The work is in deploy/ci and deploy/local.

CARGO ?= cargo
SEEDS ?= 1000
PAIRS ?= 5000000
# Where `make setup` puts Rust when it has to install it; behind everything else.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: list setup demo test python lint sim hammer faults abuse tamper fuzz-policy bombs bench-policy deny

list: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

setup: ## install by apt and rustup what is missing to build and test (compilers, headers, Java, Maven, Python, Redis, promtool)
	@deploy/ci/setup --tests

demo: ## build the binary and run the demo: one process, a data folder of its own, no broker needed
	@deploy/ci/setup
	$(CARGO) run -p tidegate-cli -- demo

test: setup ## every test: the fast ones, then those against a real Kafka that is started for them
	deploy/ci/test

python: setup ## the Python SDK: mypy and pytest against the real binary
	$(CARGO) build -p tidegate-cli
	deploy/ci/python

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

sim: ## seeded simulation; SEEDS=n seeds from a fresh base, BASE=x the same again, SEED=x one with a trace
	$(CARGO) run -p tidegate-simulation --bin sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) $(if $(BASE),--base $(BASE)))

hammer: ## ten million spends of limits over eight shards, with kills and wrong clocks, against an exact ledger; SPENDS=n, SEED=x
	$(CARGO) run --release -p tidegate-limits-hammer --bin hammer -- $(if $(SPENDS),--spends $(SPENDS)) $(if $(SEED),--seed $(SEED))

faults: setup ## kill, pause and stop real processes on a real Kafka under load; SCENARIO=full|worker-kills|worker-stops|broker-bounce|broker-stop|scheduler-kills|rolling-term|worker-dies|scheduler-backlog|shared-limits; the last line is the ledger's verdict
	$(CARGO) build -p tidegate-cli -p tidegate-processes --bins
	deploy/ci/with-kafka $(if $(filter broker-stop,$(SCENARIO)),--set broker.session.timeout.ms=600000) target/debug/faults $(SCENARIO)

abuse: ## the abuse matrices: forged, foreign, altered, replayed, unsigned tickets and approvals, lying and flooding workers, and leases over HTTP; no broker needed
	$(CARGO) build -p tidegate-cli
	$(CARGO) test -p tidegate-scheduler --test scenarios --test model
	$(CARGO) test -p tidegate-scheduler --lib -- answers hellos reports
	$(CARGO) test -p tidegate-worker --test session_table --test session_model
	$(CARGO) test -p tidegate-node --test abuse_matrix
	$(CARGO) test -p tidegate-processes --test bad_input -- forged_on_dev
	$(CARGO) test -p tidegate-processes --test approvals
	$(CARGO) test -p tidegate-cli --test leases

tamper: ## the tamper matrix: an audit log edited, cut, swapped, restamped, forged, each kind at each place; and verifying from a checkpoint
	$(CARGO) test -p tidegate-audit

fuzz-policy: ## the policy evaluator against the naive reference: PAIRS=n random (policy, job) pairs from SEED=s
	$(CARGO) run --release -p tidegate-policy --example fuzz -- --pairs $(PAIRS) --seed $(or $(SEED),1)

bombs: ## expressions, patterns and bundles made to exhaust a judge: each is refused or bounded
	$(CARGO) test -p tidegate-policy --test bombs

bench-policy: ## Tidegate, the cel crate, Cedar and Rego on the same rules and jobs; RULES=10,100,… ; the last line is JSON
	$(CARGO) run --release --manifest-path bench/peers/Cargo.toml --target-dir target/peers -- $(if $(RULES),--rules $(RULES))

deny: ## licences, advisories, bans and sources of the dependencies (needs cargo-deny and the network)
	@command -v cargo-deny >/dev/null || { echo "make deny: cargo-deny is missing; cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny check
