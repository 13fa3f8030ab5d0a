# Every command of this repository; `make help` lists them. On a fresh Debian 12 or Ubuntu 24.04 `make demo` and
# `make test` need only git and make: they install packages, build and run. Nothing here needs a network once the
# packages are there. CMake does the work; settings are in CMakePresets.json.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps deps-python deps-check build install demo test skipped check format asan asan-smoke tsan fuzz bench mutants
.PHONY: bundle clean

# Compilations are shared between clones and builds of this repository, wherever they lie.
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1

T ?= 60                    # seconds for each fuzzer
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local       # what `make install` installs below; DESTDIR is put before it
# Three at once, also on two cores: many tests wait.
CTEST := ctest --output-on-failure --no-tests=error -j3 $(CTEST_FLAGS)

PACKAGES := g++ make cmake ninja-build pkg-config ccache python3 iproute2 nftables \
  libucx-dev ucx-utils libuv1-dev libflatbuffers-dev flatbuffers-compiler \
  libgrpc++-dev libssl-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev \
  libmimalloc-dev libnuma-dev libexpected-dev libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev \
  libgtest-dev libgmock-dev libbenchmark-dev valgrind etcd-server
PYTHON_PACKAGES := python3-dev python3-venv python3-numpy python3-torch
PYTHON := $(CURDIR)/.venv/bin/python
CHECK_PACKAGES := clang-format-19 clang-tidy-19 clang-19 libclang-rt-19-dev

# Whose tests have "Smoke" in their names: what `make asan-smoke` runs of the end-to-end tests.
SMOKE_PROGRAMS := $(shell grep -lE 'TEST.*Smoke' tests/e2e/*_test.cc tests/interop/*_test.cc | xargs -n1 basename | xargs -I{} \
  grep -oE 'NAME e2e_\w+|{}' tests/CMakeLists.txt | awk '/^NAME/ {program = $$2} !/^NAME/ {print program}' | sort -u)

say = @echo "== $@: $(1)"

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what building and testing needs (apt; asks nothing, skips what is there)
	@$(call install,$(PACKAGES))

deps-python: deps ## the same for the Python package and its tests: torch, and .venv with packages from its index
	@$(call install,$(PYTHON_PACKAGES))
	@cmp -s tests/python/requirements.txt .venv/installed || { \
	  echo "== $@: .venv, from Python's index (about a minute)"; \
	  /usr/bin/python3 -m venv --system-site-packages .venv && \
	  .venv/bin/pip install -q --disable-pip-version-check -r tests/python/requirements.txt && \
	  cp tests/python/requirements.txt .venv/installed; }

deps-check: ## the same for `make check` and `make fuzz`: clang 19 and its tools
	@$(call install,$(CHECK_PACKAGES))

# Says nothing and touches nothing when all packages are installed, so that it works without a network.
define install
missing=(); for p in $(1); do \
  [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing+=($$p); done; \
[ $${#missing[@]} -eq 0 ] && exit 0; \
root=; [ "$$(id -u)" = 0 ] || root=sudo; \
echo "== $@: installing $${missing[*]} (about 2 minutes)"; \
$$root apt-get update -q && \
$$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $${missing[@]}
endef

build: deps ## the programs, in build/bin
	$(call say,the programs (the first time about 3 minutes on 2 cores; then seconds))
	@[ -f build/build.ninja ] || cmake --preset release --log-level=WARNING > /dev/null
	@cmake --build build -j $(JOBS) --target programs

install: build ## sidecard, sidecarctl and the client library into PREFIX=/usr/local (DESTDIR= for packages)
	$(call say,the client library (seconds); then all of it into $(DESTDIR)$(strip $(PREFIX)))
	@cmake --build build -j $(JOBS) --target installed
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(abspath $(PREFIX))"

demo: build ## four sidecars as two nodes on this machine move real data (under a minute)
	$(call say,two nodes of two sidecars each; ends by itself in under a minute)
	@build/bin/sidecar-demo

test: build deps-python ## every test (the first time about half an hour on 2 cores, then 11 minutes)
	$(call say,the tests (the first time about 8 minutes on 2 cores; then seconds))
	@cmake --preset release -DSIDECAR_PYTHON=$(PYTHON) --log-level=WARNING > /dev/null
	@cmake --build build -j $(JOBS)
	$(call say,every test; about 11 minutes on 2 cores)
	@$(CTEST) --test-dir build

skipped: ## why tests of the last `make test` were skipped
	@grep -A2 -hE '^\[  SKIPPED \]|: Skipped$$' build/Testing/Temporary/LastTest.log || echo "none was"

check: build deps-check ## format, layers, headers, wire compatibility, clang-tidy (about 20 minutes, then only what changed)
	$(call say,format)
	@git ls-files '*.c' '*.cc' '*.h' | xargs clang-format-19 --dry-run --Werror
	$(call say,layers and file sizes)
	@python3 tests/check_layers.py --self-test
	@python3 tests/check_layers.py
	$(call say,the schema against the released one)
	@for released in am_protocol/released/*.fbs; do \
	  flatc --conform $$released am_protocol/$$(basename $$released) || exit 1; done
	$(call say,golden vectors are as they were first committed)
	@changed=$$({ git log --format= --name-only --diff-filter=MD -- 'tests/golden/*.bin'; \
	  git diff --name-only --diff-filter=MD HEAD -- 'tests/golden/*.bin'; } | sort -u); \
	  [ -z "$$changed" ] || { echo "changed: $$changed"; exit 1; }
	$(call say,every header on its own (about 2 minutes))
	@cmake --build build -j $(JOBS) --target check_headers
	$(call say,clang-tidy (about a quarter of an hour, then only what changed))
	@python3 tests/run_tidy.py build

format: deps-check ## rewrite the sources with clang-format
	@git ls-files '*.c' '*.cc' '*.h' | xargs clang-format-19 -i

asan: deps ## every test under AddressSanitizer and UBSan (about 20 minutes)
	$(call say,build and all tests under ASan and UBSan; about 20 minutes)
	@cmake --preset asan > /dev/null && cmake --build build-asan -j $(JOBS)
	@$(CTEST) --test-dir build-asan

asan-smoke: deps ## the same without most end-to-end tests and soaks (about 15 minutes)
	$(call say,unit and contract tests and a few end-to-end tests under ASan and UBSan; about 15 minutes)
	@cmake --preset asan > /dev/null && cmake --build build-asan -j $(JOBS) \
	  --target tests_unit tests_contract tests_fuzz sidecar-demo $(SMOKE_PROGRAMS)
	@$(CTEST) --test-dir build-asan -L 'unit|contract|fuzz' -E 'Soak.*[2-9]$$'
	@$(CTEST) --test-dir build-asan -L e2e -R 'Smoke'

tsan: deps ## core and its mailbox under ThreadSanitizer (about 3 minutes)
	$(call say,core tests under ThreadSanitizer; about 3 minutes)
	@cmake --preset tsan > /dev/null && cmake --build build-tsan -j $(JOBS) --target tests_core
	@$$(setarch -R true 2>/dev/null && echo setarch -R) $(CTEST) --test-dir build-tsan -L unit -R '^core_'

fuzz: deps deps-check ## each fuzzer for T=60 seconds
	$(call say,each fuzzer for $(strip $(T)) seconds after the build)
	@cmake --preset fuzz > /dev/null && cmake --build build-fuzz -j $(JOBS) --target tests_fuzz
	@T=$(strip $(T)) ctest --test-dir build-fuzz -L fuzz --no-tests=error --output-on-failure --verbose

bench: build deps-python ## the speed table; one JSON object a row in build/bench.jsonl (about 5 minutes)
	$(call say,each row beside its reference; about 5 minutes on an idle machine)
	@build/bin/sidecar-bench --jsonl build/bench.jsonl
	@cmake --preset release -DSIDECAR_PYTHON=$(PYTHON) --log-level=WARNING > /dev/null
	@cmake --build build -j $(JOBS) --target sidecar_python
	@$(PYTHON) perf/python_bench.py build --jsonl build/bench.jsonl

mutants: build ## one-line faults, each of which a named test must catch (about 8 minutes)
	$(call say,builds and tests one fault after the other; about 8 minutes)
	@python3 tests/mutants/run.py

bundle: build ## programs, tests and their libraries in build/sidecar-bundle.tar.gz, for another machine
	$(call say,every program and the libraries it needs; the first time about 5 minutes on 2 cores)
	@cmake --build build -j $(JOBS)
	@python3 cmake/bundle.py build build/sidecar-bundle.tar.gz

clean: ## remove all builds
	@rm -rf build build-asan build-tsan build-fuzz build-debug
