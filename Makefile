# make demo     build, and run examples/hello without a daemon
# make test     all tests, on the real kernel
# make test-vm  limits, devices and the units on a pure cgroup v2 host with systemd, in a virtual machine
# make build    target/release/setpoint
# make bench    setpoint beside docker, podman and crun, as ratios
# make fmt      format
# make lint     what CI refuses: formatting and lints
# Needs root, Debian 12 or newer, and Rust. Debian packages that are missing are installed, and named before.

BIN := target/release/setpoint

.PHONY: help demo demo-clean build test test-vm bench fmt lint install deps-build deps-demo deps-test deps-bench deps-vm FORCE

help:
	@sed -n 's/^# make/make/p' Makefile

deps-build deps-demo deps-test deps-bench deps-vm:
	@scripts/deps.sh $(@:deps-%=%)

build: deps-build $(BIN)

# cargo knows whether there is anything to do, and builds for a named target (see .cargo/config.toml).
$(BIN): FORCE
	cargo build --release
	@mkdir -p target/release
	@ln -f "target/$$(rustc --print host-tuple)/release/setpoint" $(BIN)

demo: deps-demo build
	@scripts/demo.sh $(BIN)

demo-clean:
	@scripts/demo.sh --clean $(BIN)

test: deps-test
	@scripts/test.sh

# The program of the tests, in the way that it is built for them: `cargo build` would compile half of what it depends on anew.
test-vm: deps-vm
	cargo test --no-run --test tidy
	@tests/vm/run.sh "target/$$(rustc --print host-tuple)/debug/setpoint"

bench: deps-bench build
	cargo build --release --manifest-path bench/floor/Cargo.toml --target-dir target/floor
	@bench/run.py $(BIN) --floor "target/floor/$$(rustc --print host-tuple)/release/floor"

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

# For a machine of your own: the program and, where systemd runs, its units (not enabled).
install: build
	install -D -m 755 $(BIN) $(DESTDIR)/usr/local/bin/setpoint
	for unit in setpoint.service setpoint-containers.service setpoint.socket; do \
		install -D -m 644 systemd/$$unit $(DESTDIR)/etc/systemd/system/$$unit || exit; \
	done
	install -D -m 644 systemd/user/setpoint.service $(DESTDIR)/etc/systemd/user/setpoint.service
	install -d -m 755 $(DESTDIR)/etc/setpoint/manifests
