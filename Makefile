# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
NODE := hack/node
BIN := node_modules/.bin
export NODE_NO_WARNINGS := 1
SEEDS ?= 100
WORKERS ?= 3
.DEFAULT_GOAL := help
.PHONY: help up down status build toolchain generate verify format lint typecheck test test-unit test-system walk chaos simulate bench-start bench-failover bench-scale bench-placement bench-backup bench-tasks clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

node_modules/.installed: package.json package-lock.json .npmrc
	@command -v npm >/dev/null || { echo "berth: npm is needed to install the dependencies: install Node (any version) first." >&2; exit 2; }
	npm ci --no-progress --loglevel=error && echo "installed in $$SECONDS s"
	@touch $@

up: build ## Start a local Berth: etcd, kube-apiserver, registry, operator, two agents with containerd (root; repeatable): [REPLICAS=n operators]
	$(if $(REPLICAS),REPLICAS=$(REPLICAS)) $(NODE) hack/local/up.ts

down: node_modules/.installed ## Remove everything that `make up` made
	$(NODE) hack/local/down.ts

status: node_modules/.installed ## Say which parts of the local Berth run
	$(NODE) hack/local/status.ts

build: node_modules/.installed ## Bundle the binaries into dist/
	$(NODE) hack/build.ts

toolchain: node_modules/.installed ## Compile or install the programs of a local cluster: kube-apiserver, containerd, etcd, … (cached)
	$(NODE) hack/toolchain/main.ts

generate: node_modules/.installed ## Write everything generated: CRDs, gRPC stubs, seccomp profile, reference docs
	$(NODE) hack/generate.ts

verify: node_modules/.installed ## Fail when a generated file differs from what `make generate` writes
	$(NODE) hack/generate.ts --verify

format: node_modules/.installed ## Format the code
	$(NODE) $(BIN)/prettier --write --log-level warn .

lint: node_modules/.installed ## Check formatting, the import rules and the purity rules
	$(NODE) $(BIN)/prettier --check --log-level warn .
	$(NODE) --max-old-space-size=4096 $(BIN)/eslint .

typecheck: node_modules/.installed ## Check the types
	$(NODE) $(BIN)/tsc

test: node_modules/.installed ## Everything: verify, lint, types, unit tests, simulation, system tests (root)
	$(NODE) hack/test.ts

test-unit: node_modules/.installed ## Unit tests (needs nothing but Node; FILES=… to choose)
	$(NODE) --experimental-vm-modules $(BIN)/jest $(FILES) --selectProjects unit --testTimeout=60000

test-system: build ## System tests on a real API server, containerd and registry (root; FILES=… to choose)
	$(NODE) --experimental-vm-modules $(BIN)/jest $(FILES) --selectProjects system --maxWorkers=$(WORKERS)

walk: build ## Users and faults at random on real parts, at the end nothing stuck, twice or left (root): [SEED=s to repeat one]
	$(if $(SEED),BERTH_WALK_SEED=$(SEED)) $(NODE) --experimental-vm-modules $(BIN)/jest random-walk --selectProjects system --runInBand

chaos: build ## Operators and agents ended at random under twice the load that fits, for 5 minutes: no task lost or run twice (root): [SEED=s] [SECONDS=n]
	$(if $(SEED),BERTH_CHAOS_SEED=$(SEED)) BERTH_CHAOS_SECONDS=$(or $(SECONDS),300) $(NODE) --experimental-vm-modules $(BIN)/jest chaos.system --selectProjects system --runInBand

simulate: node_modules/.installed ## Run the real cores against modelled faults: SEEDS=n [SEED=s to replay one] [SMALL=1] [DEFECT=name]
	$(NODE) test/simulation/main.ts --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) $(if $(SMALL),--small) $(if $(DEFECT),--defect $(DEFECT))

bench-start: build ## Time from POST to Started beside the same calls made to containerd directly (root)
	$(NODE) test/bench/start.ts

bench-failover: build ## Time until the next operator reconciles when the leading one is killed (root)
	$(NODE) test/bench/failover.ts

bench-scale: build ## Memory, idle writes and start-up of an operator with 10,000 sandboxes on 200 modelled runners (root)
	$(NODE) test/bench/scale.ts

bench-placement: node_modules/.installed ## How evenly 1,000 sandboxes that are created at once are spread over 50 modelled runners
	$(NODE) test/bench/placement.ts

bench-backup: build ## Time of a backup through the agent beside the same diff and upload by hand, time paused, memory of the agent (root)
	$(NODE) test/bench/backup.ts

bench-tasks: build ## Time of a command through the HTTP API beside containerd's exec, of the status of a fleet, and how evenly slots are spread (root)
	$(NODE) test/bench/tasks.ts

clean: ## Remove what was built (not the cache of downloaded and compiled tools)
	rm -rf dist node_modules
