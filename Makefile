# make demo   train a boosted-tree agent on CartPole, show its score and its learning curve
# make test   run the tests; make quick those of the core and the recipes
# make docs   build the documentation into build/site
# make wheel  build a wheel and try it in an environment of its own
# They need Python 3.11 or newer and a C++17 compiler, and install the rest into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt $(shell find cpp rlshare agents envs -type f -not -path '*/__pycache__/*')
DEMO := demo
comma := ,

.PHONY: install demo test quick lint format package docs wheel resolve benchmark-peers fuzz sanitize tsan \
    libfuzzer table clean

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/rlshare train --env CartPole-v1 --n-timesteps 80k --seed 1 --eval-freq 0 --log-folder $(DEMO)
	@set -e; run=$$(ls -td $(DEMO)/ppo/CartPole-v1_* | head -1); \
	$(BIN)/rlshare eval $$run; \
	$(BIN)/rlshare plot $$run --output $(DEMO)/learning-curve.png; \
	printf '%s\n' "The pole stands for 500 steps at most. Three things to try next:" \
	    "  $(BIN)/rlshare enjoy $$run --video $(DEMO)/cartpole.mp4     watch the agent" \
	    "  $(BIN)/rlshare train --policy mlp --env CartPole-v1       a network in place of trees" \
	    "  $(BIN)/rlshare train --env LunarLander-v3                 a harder task, with its recipe"

# A process a core, and in each of them torch on one thread. Processes that tests start find the
# package compiled, whatever the environment says of writing bytecode.
PYTEST_ALL := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n auto --dist worksteal
test: $(INSTALLED)
	$(PYTEST_ALL) tests

# What fails first where the core or the settings are wrong.
quick: $(INSTALLED)
	$(PYTEST_ALL) tests/trees tests/oracle tests/moe tests/agents/test_recipes.py

# The package as it is installed, where agents and envs lie within rlshare: types are checked and
# the API's pages are made there.
PACKAGE := build/package
package:
	rm -rf $(PACKAGE) && mkdir -p $(PACKAGE) && cp -r rlshare $(PACKAGE) && cp -r agents envs $(PACKAGE)/rlshare

lint: $(INSTALLED) package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find cpp -name '*.cpp' -o -name '*.h')
	cd $(PACKAGE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml \
	    --cache-dir $(CURDIR)/$(VENV)/mypy-cache -p rlshare
	$(BIN)/python benchmarks/readme_table.py --check

docs: $(INSTALLED) package
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

# Whether every extra can be installed, with the pinned versions and with the lowest declared ones: a
# set of versions that serves all of them serves each. uv works it out from the packages' metadata
# and downloads none of them.
resolve: $(INSTALLED)
	@set -e; for rule in "highest --constraint constraints.txt" lowest-direct; do \
	    echo "resolving all extras, $$rule"; \
	    $(BIN)/uv pip compile --quiet --python $(BIN)/python --all-extras --resolution $$rule \
	        pyproject.toml > /dev/null; \
	done

# The wheel, in an environment without a compiler on its PATH, where rlshare is installed from the
# wheel and everything else is lent by .venv.
WHEEL := build/wheel
wheel: $(INSTALLED)
	rm -rf $(WHEEL) && mkdir -p $(WHEEL)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(WHEEL) .
	$(PYTHON) -m venv --without-pip $(WHEEL)/env
	$(BIN)/python -m pip --python $(WHEEL)/env/bin/python install --quiet --no-deps $(WHEEL)/rlshare-*.whl
	$(BIN)/python -c "import sys; print(*[p for p in sys.path if p.endswith('-packages')], sep='\n')" \
	    > $$(ls -d $(WHEEL)/env/lib/python3*/site-packages)/lent.pth
	env -i PATH=$(CURDIR)/$(WHEEL)/env/bin HOME=$(HOME) $(WHEEL)/env/bin/python tests/smoke.py
	@ls $(WHEEL)/*.whl

# The other learners pin another pybind11 than rlshare is built with: an environment of their own.
PEERS := build/peers
benchmark-peers:
	$(PYTHON) -m venv $(PEERS)
	grep -v pybind11 constraints.txt > $(PEERS)/constraints.txt
	$(PEERS)/bin/python -m pip install --quiet -c $(PEERS)/constraints.txt -r benchmarks/peers.txt .
	$(PEERS)/bin/python benchmarks/trees.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find cpp -name '*.cpp' -o -name '*.h')

# Rewrite the tables of README.md and docs/ from benchmarks/results.
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
