# The short way in: each target sets up what it needs (tools/setup, quick when nothing is
# missing) and calls CMake's presets, which also work by themselves (CMakePresets.json).

PREFIX = /usr/local
DESTDIR =

all: build ## set up and build the release preset into build/release
	@echo "built build/release/bin/graphpipe"

build:
	@tools/setup build
	@cmake --preset release >/dev/null
	@cmake --build --preset release

demo: ## serve an image model and classify examples/mug.png with it
	@tools/setup demo
	@cmake --preset release >/dev/null
	@cmake --build --preset release --target program
	@tools/demo

test: ## build and run all the tests
	@tools/setup test
	@$(MAKE) --no-print-directory build
	@tools/test $(CTEST_FLAGS)

# flags of tests/frameworks/run.py: FLAGS="--markdown docs/engines-tested.md"
test-engines: ## the same models through every engine, next to their frameworks (3 GB)
	@tools/setup build onnx openvino pytorch tensorflow mxnet cntk caffe2 test-engines
	@$(MAKE) --no-print-directory build
	@for of in onnx torch tensorflow mxnet cntk caffe2; do \
	    .deps/test-engines/bin/python tools/zoo/write_$$of.py || exit 1; done
	@.deps/test-engines/bin/python tests/frameworks/run.py $(FLAGS)

# flags of tools/mutants: FLAGS="--every 6 --minutes 90", FLAGS=src/net/timers.c, FLAGS=--changed
mutants: ## slips put into src/ that the unit tests do not notice, ten minutes
	@tools/setup mutants
	@$(MAKE) --no-print-directory build
	@.deps/venv/bin/python -B tools/mutants $(FLAGS)

check: build ## static checks: includes, sizes, headers, symbols, format
	@tools/setup check
	@tools/check/run build/release

format: ## format the C sources in place
	@tools/setup check
	@git ls-files -co --exclude-standard '*.[ch]' '*.cc' | xargs clang-format -i

bench: ## run all benchmarks, about half an hour, and draw docs/performance.md
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@.deps/venv/bin/python -B bench/run
	@.deps/venv/bin/python -B bench/draw.py

bench-smoke: ## each benchmark in its shortest form, without the rivals
	@tools/setup demo
	@$(MAKE) --no-print-directory build
	@.deps/venv/bin/python -B bench/run --smoke

install: build ## install into PREFIX (DESTDIR is put in front of it)
	@tools/setup onnx
	DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"
	@for of in caffe2 cntk mxnet pytorch; do [ ! -e .deps/$$of/VERSION ] || echo "not installed, since it is" \
	    "large: the runtime of $$of; to install it, cmake --install build/release --prefix" \
	    "$(PREFIX) --component $$of"; done

clean: ## remove what was built; what was downloaded stays in .deps
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: all build demo test test-engines mutants check format bench bench-smoke install clean help
