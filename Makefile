# make demo   train a boosted-tree agent on CartPole, show its score and its learning curve
# make test   run the tests
# Both need Python 3.11 or newer and a C++17 compiler, and install the rest into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt $(shell find cpp rlshare agents envs -type f -not -name '*.pyc')
DEMO := demo

.PHONY: install demo test lint format check fuzz sanitize table clean

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/rlshare train --algo ppo --policy gbt --env CartPole-v1 --n-timesteps 400000 --seed 1 --log-folder $(DEMO)
	$(BIN)/rlshare plot $$(ls -td $(DEMO)/ppo/CartPole-v1_* | head -1) --output $(DEMO)/learning-curve.png

test: $(INSTALLED)
	$(BIN)/pytest -q tests

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

# 10 000 mutated model files, half of them with a recomputed checksum, under AddressSanitizer.
SANITIZED := build/sanitized
sanitize: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt scikit-build-core pybind11
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(SANITIZED) --upgrade \
	    -C build-dir=build/sanitize -C cmake.define.RLSHARE_SANITIZE=ON -C cmake.build-type=Debug .

# -S leaves out the editable install, which would come first.
fuzz: sanitize
	PYTHONPATH=$(SANITIZED):$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('platlib'))") \
	    ASAN_OPTIONS=detect_leaks=0 \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    $(BIN)/python -S tests/trees/fuzz_serialize.py --n 10000

clean:
	rm -rf build $(VENV) $(DEMO)
