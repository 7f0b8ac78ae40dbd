# `make run` and `make test` are the only two commands a new machine needs: Rust and Node are there, the rest is installed.
.DEFAULT_GOAL := help
.PHONY: help check run dashboard types docs test test-agents test-long test-compose test-k8s proof pictures bench k8s lint deny fmt setup

CARGO ?= cargo
# Tests start processes and mostly wait for them: more threads than cores. The ledger's histories compute instead: they
# run by themselves, so that they make nobody miss a deadline; so does the walk in the browser, which measures how soon
# things show.
TEST_THREADS ?= 3
# Six fleets at a time: more would keep two cores busier than the slack of their ledgers allows for.
REALTIME_THREADS ?= 6

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 12

# What the web page is made of: it is built when any of it is newer than what was made.
PAGE := dashboard/dist/index.html
PAGE_SOURCES := $(shell find dashboard/src dashboard/build -type f -not -name '*.test.*') $(wildcard dashboard/*.html dashboard/*.ts dashboard/*.json)

run: $(PAGE) ## build and start: on your provider keys or a local Ollama where found, else on simulated providers
	$(CARGO) run --locked --no-default-features -- serve --or-demo

dashboard: $(PAGE) ## build the web page, to be embedded by the next cargo build

$(PAGE): dashboard/node_modules/.package-lock.json $(PAGE_SOURCES)
	cd dashboard && npm run --silent build

dashboard/node_modules/.package-lock.json: dashboard/package-lock.json
	cd dashboard && npm ci --silent
	touch $@

types: dashboard/node_modules/.package-lock.json ## generates the dashboard's types from /openapi.json
	INSTA_UPDATE=always $(CARGO) test --locked --test it -- the_dashboard_is_built_on_this_document
	cd dashboard && npm run --silent types

docs: ## writes the tables of docs/configuration.md and the README of the chart from the settings and the values
	INSTA_UPDATE=always $(CARGO) test --locked --quiet --test it -- source::generated source::chart::readme

check: lint ## formatting, lints, unit tests and the ledger's scripts on the embedded engine: a minute when warm, no services
	$(CARGO) test --locked --quiet --lib --bins
	HISTORIES=0.1 $(CARGO) test --locked --quiet --test it -- source::house_rules source::imports source::language source::golden source::documents ledger::

test: setup $(PAGE) lint ## everything that must hold, on any Debian or Ubuntu machine
	cd dashboard && npm run --silent check
	$(CARGO) test --locked --lib --bins
	$(CARGO) test --locked --test it -- --test-threads $(TEST_THREADS) --skip realtime:: --skip ledger:: --skip end_to_end::dashboard::
	$(CARGO) test --locked --test it -- --nocapture end_to_end::dashboard::
	$(CARGO) test --locked --test it -- ledger::
	$(CARGO) test --locked --test it -- --test-threads $(REALTIME_THREADS) --show-output realtime::

test-agents: setup ## the real Claude Code, Codex and other tools after `tollfree setup` (installs them from npm and PyPI; three minutes)
	cd tests/agents && npm ci --silent
	# Their lock files would name packages of other platforms that not every registry has.
	cd tests/agents && npm install --silent --no-save --no-package-lock --prefix .venv/node opencode-ai@1.18.33 @continuedev/cli@1.5.47 \
	  @qwen-code/qwen-code@0.24.4
	cd tests/agents && for tool in aider llm; do \
	  cmp -s requirements-$$tool.txt .venv/$$tool/made-from || { rm -rf .venv/$$tool && python3 -m venv .venv/$$tool && \
	    .venv/$$tool/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-$$tool.txt && \
	    cp requirements-$$tool.txt .venv/$$tool/made-from; } || exit 1; done
	$(CARGO) build --locked
	.venv/bin/python tests/agents/run.py target/debug/tollfree

test-long: setup ## the same histories and clocks, for much longer
	PROPTEST_CASES=100000 $(CARGO) test --locked --release --lib -- json:: config:: app::head_limit upstream::hints \
	  upstream::request_edit upstream::response protocol::audio protocol::transcription
	TRIAL_SECONDS=120 $(CARGO) test --locked --release --test it -- --test-threads 1 --show-output gateway::hostile
	PROPTEST_CASES=20000 $(CARGO) test --locked --lib --bins
	HISTORIES=10 TRIAL_SECONDS=900 $(CARGO) test --locked --test it -- --test-threads $(TEST_THREADS) --skip realtime::
	HISTORIES=10 TRIAL_SECONDS=900 $(CARGO) test --locked --test it -- --test-threads $(REALTIME_THREADS) --show-output realtime::
	$(CARGO) test --locked --test it -- --ignored --test-threads 1 --show-output realtime::crowd

test-compose: setup ## builds the image and runs the compose file for real: three replicas, a collector (about 15 minutes at first)
	tests/compose/run.sh

test-k8s: setup ## installs the chart on a Kubernetes of two nodes and troubles it under load (30 minutes; the first time builds Kubernetes)
	tests/k8s/run.sh

k8s: setup ## writes k8s/tollfree.yaml from the chart
	{ echo '# Rendered from helm/tollfree by `make k8s`. Change the chart or k8s/values.yaml instead.'; \
	  .tools/bin/helm template tollfree helm/tollfree --namespace tollfree --values k8s/values.yaml --skip-tests --no-hooks; } > k8s/tollfree.yaml

proof: $(PAGE) ## four replicas share one limit while replicas die and Redis is lost (four minutes), as a page in docs/proof
	@command -v redis-cli >/dev/null || { echo "proof: redis-server and redis-cli are missing (make setup installs them)" >&2; exit 1; }
	$(CARGO) build --locked --release
	python3 tests/proof/run.py --binary target/release/tollfree --out docs/proof $(foreach adapter,$(ADAPTERS),--adapter $(adapter))

pictures: setup $(PAGE) ## takes the pictures of docs/img, after twenty minutes of traffic (PICTURES_MINUTES)
	$(CARGO) build --locked
	cd dashboard && node tests/pictures.mjs ../target/debug/tollfree ../docs/img

bench: setup ## cost per request next to nginx in the same run
	tests/setup.sh bench
	$(CARGO) build --locked --profile dist
	ulimit -n 8192; TOLLFREE_BINARY=target/dist/tollfree \
	  $(CARGO) test --locked --test it -- --ignored --nocapture --test-threads 1 bench::

lint: setup $(PAGE) ## formatting, clippy and rustdoc (warnings are errors), linters of Lua, shell, workflows, the image and the schema, dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --quiet --no-deps --lib --document-private-items
	cd dashboard && npm run --silent lint
	$(CARGO) test --locked --quiet --test it -- source::lint source::schema source::generated source::chart::readme
	@$(MAKE) --no-print-directory deny

deny: ## licences, sources and banned crates; known vulnerabilities where their database has been downloaded
	@PATH="$(CURDIR)/.tools/bin:$$PATH"; \
	if ! command -v cargo-deny >/dev/null; then echo "deny: not checked, cargo-deny is missing (make setup installs it)"; exit 0; fi; \
	$(CARGO) deny --locked check bans licenses sources || exit 1; \
	if ls $${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs >/dev/null 2>&1; then $(CARGO) deny --locked --offline check advisories; fi

fmt: ## format everything
	$(CARGO) fmt

setup: ## install what the tests need and this machine lacks
	tests/setup.sh
