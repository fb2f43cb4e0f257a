# make demo   train a boosted-tree agent on CartPole, show its score and its learning curve
# make test   run the tests
# Both need Python 3.11 or newer and a C++17 compiler, and install the rest into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt $(shell find cpp rlshare agents envs -type f -not -name '*.pyc')
DEMO := demo
comma := ,

.PHONY: install demo test lint format check fuzz sanitize tsan libfuzzer table clean

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/rlshare train --algo ppo --policy gbt --env CartPole-v1 --n-timesteps 400000 --seed 1 --log-folder $(DEMO)
	$(BIN)/rlshare plot $$(ls -td $(DEMO)/ppo/CartPole-v1_* | head -1) --output $(DEMO)/learning-curve.png

# A process a core, and in each of them torch on one thread.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile tests

# Types are checked in the package as it is installed: agents and envs lie within rlshare there.
TYPED := build/typed
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find cpp -name '*.cpp' -o -name '*.h')
	rm -rf $(TYPED) && mkdir -p $(TYPED) && cp -r rlshare $(TYPED) && cp -r agents envs $(TYPED)/rlshare
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p rlshare
	$(BIN)/python benchmarks/readme_table.py --check

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find cpp -name '*.cpp' -o -name '*.h')

# Rewrite the README's result table from benchmarks/results.
table: $(INSTALLED)
	$(BIN)/python benchmarks/readme_table.py

# The sanitizers. Each gets a build of its own in build/, which the plain interpreter runs, not the
# virtual environment's: that one, and every process it starts, would find the editable install
# first; and from build/, where no directory is named rlshare.
SANITIZED := build/sanitized
TSAN := build/tsan
build_sanitized = $(BIN)/python -m pip install --quiet -c constraints.txt scikit-build-core pybind11 cmake ninja && \
    $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(2) --upgrade \
    -C build-dir=$(2)-cmake -C cmake.define.RLSHARE_SANITIZE=$(1) -C cmake.build-type=Debug .
# $(call sanitized,build,libraries to load first): the interpreter, after a check of what it loads.
paths = $$($(CURDIR)/$(BIN)/python -c "import sys; print(*[p for p in sys.path if p.endswith('-packages')], sep=':')")
sanitized = cd build && export PYTHONPATH=$(CURDIR)/$(1):$(paths) \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
        TSAN_OPTIONS="halt_on_error=1 die_after_fork=0" \
        LD_PRELOAD="$(foreach library,$(2),$$(g++ -print-file-name=$(library)))" && \
    python=$$(env -u LD_PRELOAD -u PYTHONPATH $(CURDIR)/$(BIN)/python -c "import sys; print(sys._base_executable)") && \
    $$python -c "from rlshare import _core; assert _core.__file__.startswith('$(CURDIR)/$(1)/'), _core" && \
    $$python
# A report goes to stderr, past pytest's capture, and ends the process.
PYTEST := -m pytest -q -p no:cacheprovider --capture=sys

# Tests of the core under AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: $(INSTALLED)
	$(call build_sanitized,address$(comma)undefined,$(SANITIZED))
	$(call sanitized,$(SANITIZED),libasan.so libubsan.so) $(PYTEST) ../tests/trees ../tests/oracle ../tests/moe

# Tests with threads under ThreadSanitizer.
tsan: $(INSTALLED)
	$(call build_sanitized,thread,$(TSAN))
	$(call sanitized,$(TSAN),libtsan.so) $(PYTEST) ../tests/trees/test_threads.py

# 10 000 mutated model files, half of them with a recomputed checksum, under the first two.
fuzz: $(INSTALLED)
	$(call build_sanitized,address$(comma)undefined,$(SANITIZED))
	$(call sanitized,$(SANITIZED),libasan.so libubsan.so) ../tests/trees/fuzz_serialize.py --n 10000

# libFuzzer on the loader alone, without Python, for FUZZ_SECONDS. Finds go on from those of the last
# run in build/fuzz-corpus; a file that crashes is left in build/.
CLANG ?= clang++
FUZZ_SECONDS ?= 180
CORPUS := build/fuzz-corpus
libfuzzer: $(INSTALLED)
	@command -v $(CLANG) > /dev/null || \
	    { echo "libFuzzer comes with Clang: apt-get install clang, or set CLANG=path/to/clang++" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet cmake ninja
	$(BIN)/python -m cmake -S cpp -B build/libfuzzer -G Ninja -DCMAKE_CXX_COMPILER=$(CLANG) -DCMAKE_BUILD_TYPE=Debug \
	    -DRLSHARE_LIBFUZZER=ON -DRLSHARE_SANITIZE=address,undefined
	$(BIN)/python -m cmake --build build/libfuzzer
	$(BIN)/python tests/trees/fuzz_serialize.py --seeds $(CORPUS)
	build/libfuzzer/load_forest -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=build/ $(CORPUS)

clean:
	rm -rf build $(VENV) $(DEMO)
