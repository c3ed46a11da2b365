# The commands of this repository. `make` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help demo demo-down test setup build cluster cluster-down images install generate generated fmt clippy unit chart e2e e2e-faults e2e-benign fuzz clean

# local: the one-node cluster of e2e/cluster, which needs root. current: the cluster of the present KUBECONFIG, which
# pulls images from IMAGE_REGISTRY.
CLUSTER ?= local
export CLUSTER

# One profile (dev) for tests, images and the demo, so that nothing is compiled twice.
cargo := cargo
root := $(filter 0,$(shell id -u))
# Whether there is a cluster to test in.
testable := $(if $(filter current,$(CLUSTER))$(root),yes)

# What set-up brings beyond building and testing.
needed := $(if $(filter current,$(CLUSTER)),image,$(if $(root),image cluster))

# $(call step,WHAT,COMMAND,WHAT TO DO WHEN IT FAILS)
define step
@printf '\n== %s\n' '$(1)'; { $(2); } || { printf '\nmake: %s failed: %s\n' '$(1)' '$(3)' >&2; exit 1; }
endef

help: ## List these commands
	@echo "Howdah: an autopilot for PostgreSQL on Kubernetes"
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "CLUSTER=local (default) runs in a one-node cluster made here, as root; CLUSTER=current in the one of KUBECONFIG:"
	@echo "  KUBECONFIG=… IMAGE_REGISTRY=registry.example.com/me make demo CLUSTER=current"

demo: install ## Tune a database in a real cluster, then break it and see that it is noticed
	$(call step,demo,setup/demo.sh,the line above says where to look)

demo-down: ## Remove the demo, the operator and the local cluster
	@setup/demo.sh down

test: setup fmt clippy unit chart generated $(if $(testable),e2e) ## Everything: format, lints, tests, chart, generated files, end to end
	@echo
	@echo "make test: passed: format, clippy, unit, property and integration tests, chart, generated files$(if $(testable), and end to end in the $(CLUSTER) cluster)"
	$(if $(testable),,@echo "make test: NOT RUN: end to end: a local cluster needs root. Run it in an existing one: KUBECONFIG=… IMAGE_REGISTRY=… make test CLUSTER=current")

setup: ## Install what is missing: Debian packages, libtorch
	$(call step,set-up,setup/setup.sh $(needed),the line above names what to install)

build: setup ## Compile the binaries
	$(call step,build,$(cargo) build --locked --bins,the compiler says where)

cluster: setup ## Start the local cluster (CLUSTER=current: check the present one)
	$(call step,cluster,$(if $(filter local,$(CLUSTER)),e2e/cluster/cluster up,. setup/cluster-env.sh),the line above says what it waits for)

cluster-down: ## End the local cluster and remove its state
	@e2e/cluster/cluster down

images: build cluster ## Build the images and bring them to the cluster
	$(call step,images,setup/images.sh $(if $(filter current,$(CLUSTER)),push),the log named above says why)

install: images ## Install or upgrade the operator by Helm
	$(call step,install,setup/install.sh,the lines above are what the cluster says)

generate: build ## Write the CRDs, the rules, the reference and the copies in the chart
	$(call step,generate,target/debug/howdah crds --dir crds && target/debug/howdah crds --rbac >charts/howdah/files/rules.yaml && target/debug/howdah crds --home-rbac >charts/howdah/files/home-rules.yaml && target/debug/howdah reference >docs/reference.md && setup/chart-files.sh,the command above says what it could not write)

generated: build
	$(call step,generated files,target/debug/howdah crds --check --dir crds && diff charts/howdah/files/rules.yaml <(target/debug/howdah crds --rbac) && diff charts/howdah/files/home-rules.yaml <(target/debug/howdah crds --home-rbac) && diff docs/reference.md <(target/debug/howdah reference) && setup/chart-files.sh --check,they differ from the types: run make generate and commit)

fmt:
	$(call step,format,$(cargo) fmt --check,run cargo fmt)

clippy: setup
	$(call step,clippy,$(cargo) clippy --locked --all-targets -- -D warnings,each finding names its line)

unit: setup
	$(call step,unit and property and integration tests,$(cargo) test --locked,each failed test names itself above)

chart:
	$(call step,chart,e2e/cluster/cluster helm && eval "$$(e2e/cluster/cluster env)" && setup/chart-check.sh,each finding names its file)

e2e := . target/images/references && POSTGRES_IMAGE=$$postgres MONITORING_IMAGE=$$monitoring $(cargo) test --locked --test e2e --

e2e: install
	$(call step,helm test,. setup/cluster-env.sh && helm test howdah --namespace howdah-system --timeout 2m,the lines above name the pod that failed)
	$(call step,end to end,. setup/cluster-env.sh && setup/chart-check.sh --server && $(e2e) --test-threads 3,each failed test names itself above)

e2e-faults: install ## Five real faults of a database, each found and named (a quarter of an hour; leave the machine alone)
	$(call step,faults,. setup/cluster-env.sh && $(e2e) --ignored --nocapture five_faults_are_found,each failed test names itself above)

e2e-benign: install ## An hour of users, restarts of an exporter, vacuums and twice the load after twenty minutes of learning them: no alarm; then five faults (leave the machine alone)
	$(call step,an hour of benign load,. setup/cluster-env.sh && $(e2e) --ignored --nocapture benign_load,the alarm is told above)

# What cargo-fuzz passes, but for the sanitizers, which need a nightly compiler.
coverage := -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
SECONDS_TO_FUZZ ?= 60

fuzz: setup ## Feed the SQL reader whatever bytes find something new (SECONDS_TO_FUZZ=60)
	$(call step,fuzz,cd fuzz && mkdir -p corpus/sqltext artifacts && RUSTFLAGS="$(coverage)" $(cargo) run --locked --release --target "$$(rustc -vV | sed -n "s/^host: //p")" --bin sqltext -- -max_total_time=$(SECONDS_TO_FUZZ) -artifact_prefix=artifacts/ corpus/sqltext,the input that failed is named above)

clean: ## Remove everything that was built (the local cluster first)
	@[ -z "$(root)" ] || e2e/cluster/cluster down
	rm -rf target fuzz/target .native
