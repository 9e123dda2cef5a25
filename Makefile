# Every command of this project. `make` alone lists them; settings are environment variables (`make help`).
.DEFAULT_GOAL := help
.PHONY: help install up up-containers up-processes down down-containers down-processes clean clean-containers \
	clean-processes doctor test chaos lint fmt model model-short fuzz bench bench-memory bench-micro bench-overload bench-seed dashboard
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

CARGO ?= cargo
# The one build profile of development, tests and `make up`: a second one would build everything twice.
PROFILE := ci
BUILT := $(or $(CARGO_TARGET_DIR),target)/$(PROFILE)
# The two programs that tests can stop at a place; programs of their own, so that no build leaves the others with them.
WITH_FAIL_POINTS := $(foreach program,ingest persister,--features $(program)/fail-points --bin $(program)-with-fail-points)
STACK_PROGRAM := $(BUILT)/stack
# What CI checks of the model: the draft's fault, knocked-out rules, and faults that the rules survive.
MODEL_SHORT := d01 k01 k07 k09 k11-no k25 k36 k37-no k38 k41-no k43 k46 k49 k50 k52 k53 k54 k55 f02 f05 f09 f12 f15 f17 f20 f22 f31b f36 f39-late f40b f43-two f44b

help: ## list the commands
	@echo "make COMMAND, one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "   %-15s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Settings of up: STACK=containers|processes, INGEST_PORT INGEST_ADMIN_PORT PERSISTER_ADMIN_PORT"
	@echo "   PROMETHEUS_PORT KAFKA_PORT REDIS_PORT DB_PORT; of processes also KAFKA_CONTROLLER_PORT and"
	@echo "   STACK_DB=mariadb|mysql; of containers also what .env.example lists."

install: ## install what is missing (Debian 12; needs root or sudo only when something is)
	@crates/stack/packages.sh

up: ## start everything (containers where an engine answers, else processes) and wait until it is ready
	@kind=$$(deploy/containers.sh chosen) && $(MAKE) --no-print-directory up-$$kind

up-containers:
	@deploy/containers.sh up

up-processes: install
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(STACK_PROGRAM) up

# The passwords of the containers; never written over.
.env:
	@deploy/containers.sh settings

# Also after a `cargo clean`: what runs must still be stopped.
$(STACK_PROGRAM):
	$(CARGO) build -p stack --bin stack --profile $(PROFILE)

down: ## stop what `make up` started, and nothing else
	@kinds=$$(deploy/containers.sh started) && for kind in $$kinds; do $(MAKE) --no-print-directory down-$$kind; done

clean: ## stop it and forget its data (the tools stay)
	@kinds=$$(deploy/containers.sh started) && for kind in $$kinds; do $(MAKE) --no-print-directory clean-$$kind; done

down-containers clean-containers:
	@deploy/containers.sh $(@:-containers=)

down-processes clean-processes: $(STACK_PROGRAM)
	@$(STACK_PROGRAM) $(@:-processes=)

doctor: ## say what is missing, and the command that mends it
	@crates/stack/packages.sh doctor
	@if [ -x $(STACK_PROGRAM) ]; then $(STACK_PROGRAM) doctor; fi

test: ## run all tests and a part of the chaos campaign on real servers, on MariaDB and on MySQL, beside a running `make up`
	@crates/stack/packages.sh test
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	$(CARGO) build --workspace --profile $(PROFILE) $(WITH_FAIL_POINTS)
	@crates/stack/test.sh $(CARGO) $(PROFILE) $(BUILT)

chaos: ## hurt a whole system and judge what became of the writes: ROUNDS=10 SEED=1 FAULTS=… BUG=… RECORD=1 ARGS="…"
	@crates/stack/packages.sh
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	$(CARGO) build --workspace --profile $(PROFILE) $(WITH_FAIL_POINTS)
	@$(BUILT)/chaos --rounds=$(or $(ROUNDS),10) --seed=$(or $(SEED),1) $(if $(FAULTS),--faults=$(FAULTS)) \
		$(if $(BUG),--bug=$(BUG)) $(if $(RECORD),--record) $(ARGS)

lint: ## check formatting, clippy, links in the documentation, shell scripts, container files
	@crates/stack/packages.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --profile $(PROFILE) -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --workspace --profile $(PROFILE)
	shellcheck .ci/run fuzz/run.sh crates/stack/*.sh deploy/*.sh deploy/mysql/*.sh
	deploy/lint.sh

fmt: ## format the code
	$(CARGO) fmt --all

model: ## check the protocol's model; SCENARIOS="k01 f02" for some (all take about a quarter of an hour)
	cd model && $(CARGO) run --release -- $(SCENARIOS)

model-short: ## the model's short list, as CI runs it
	@$(MAKE) --no-print-directory model SCENARIOS="$(MODEL_SHORT)"

fuzz: ## feed what strangers send at random to the parsers (SECONDS=60 each; nightly Rust)
	@SECONDS_EACH=$(or $(SECONDS),60) fuzz/run.sh

bench: ## what each decision costs, as ratios (ARGS="…" for some)
	@crates/stack/packages.sh bench
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(BUILT)/bench $(ARGS)

bench-memory: ## memory over 10 minutes of overload and over a backlog of 2 million events: curves, flat or not
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(BUILT)/bench-memory $(ARGS)

bench-micro: ## what the pure parts cost: JSON, Avro, batches, offsets; about a minute (ARGS="wide" for some)
	$(CARGO) bench --workspace --profile $(PROFILE) --bench transcode -- --quiet $(ARGS)
	$(CARGO) bench --workspace --profile $(PROFILE) --bench batch -- $(ARGS)

bench-overload: ## ten times what ingest can take: what it accepts is answered in time, and none of it is lost
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(BUILT)/bench-overload $(ARGS)

bench-seed: ## 1,000 writes a second for a minute over six partitions: the curve of events behind
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(BUILT)/bench-seed $(ARGS)

dashboard: ## write grafana/dashboards/write-lag.json anew, after a change in e2e/src/dashboard
	$(CARGO) build --workspace --bins --profile $(PROFILE)
	@$(BUILT)/dashboard
