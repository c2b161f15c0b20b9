# Everything a newcomer, a contributor and CI do. `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help demo run observe test check advisories bench chaos schemathesis load soak disasters containers tools fmt

BIN := target/release/homeostat

help: ## what there is
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: tools ## the system with recorded traffic of real shops: alerts within seconds
	cargo build --release --locked
	python3 scripts/demo.py $(BIN)

run: tools ## the system, with an embedded nats-server and SQLite
	cargo build --release --locked
	$(BIN) up

observe: tools ## the system with Prometheus, Alertmanager and node exporter on loopback: rules, dashboards' queries, a webhook
	scripts/install-test-tools
	cargo build --release --locked
	python3 scripts/observe.py $(BIN)

test: tools ## all tests, against real components
	scripts/install-test-tools
	.tools/python/bin/python scripts/check-deployment
	cargo test --workspace --locked
	cargo run --quiet --locked -- export schemas --check
	cargo run --quiet --locked -- export asyncapi --check

check: ## what a commit must pass: format, lints, tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(MAKE) test

advisories: ## what is known against the dependencies; needs cargo-deny, and the advisory database or the network
	cargo deny check advisories

chaos: tools ## kill the system more than a hundred times and compare what it said with a replay
	HOMEOSTAT_CHAOS_ROUNDS=120 cargo test --release --locked --test chaos -- --nocapture

load: tools ## Artillery against a real gateway: a steady load, a spike of 1000 requests a second, slow clients
	cargo build --release --locked
	scripts/load.py $(BIN)

soak: tools ## under load for long (MINUTES=165 WARM_UP=105 RATE=1000): is memory flat once histories are full?
	cargo build --release --locked
	scripts/soak.py $(BIN) --minutes $(or $(MINUTES),165) --warm-up $(or $(WARM_UP),105) --rate $(or $(RATE),1000)

disasters: tools ## backup, restore, upgrade (OLD=an/older/homeostat) and what goes wrong, each done for real
	scripts/install-test-tools
	cargo build --release --locked
	.tools/python/bin/python scripts/disasters.py $(BIN) $(if $(OLD),--old $(OLD))

containers: ## the image and the compose files on a Docker engine (IMAGE=name, else built; WITHOUT=grafana,tempo: images that cannot be had)
	scripts/containers.py $(if $(IMAGE),--image $(IMAGE)) $(if $(WITHOUT),--without $(WITHOUT))

schemathesis: tools ## ask a running gateway all that its OpenAPI document promises, and much that it does not
	cargo build --locked
	scripts/schemathesis target/debug/homeostat

bench: tools ## all measurements, side by side with peers and floors
	cargo bench --workspace --locked

tools: ## nats-server into .tools/ (from PyPI, pinned with hashes)
	@scripts/install-nats-server

fmt: ## format
	cargo fmt --all
