# Every target installs what it needs into .venv on first use: `make imdb`, `make parity`, `make test`.

PYTHON ?= python3
BACKEND ?= paddle
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# A change to any of these files reinstalls; the C++ files are compiled.
INSTALLED_FROM := pyproject.toml constraints.txt setup.py $(wildcard backends/kernels/*.cpp backends/kernels/*.h)
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: imdb parity lint types check test coverage clean

# The extra of pyproject.toml: `all` contains both frameworks.
EXTRA := $(if $(filter both,$(BACKEND)),all,$(BACKEND))

imdb: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m tasks.imdb --backend $(BACKEND) $(ARGS)

parity: $(VENV)/installed-all
	$(BIN)/python -m tasks.parity $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/installed-test
	$(BIN)/basedpyright

# Run before a commit: everything except the tests marked `slow` or `grid`.
check: lint types
	$(PYTEST) -m "not slow and not grid" $(ARGS)

test: $(VENV)/installed-test
	$(PYTEST) $(ARGS)

coverage: $(VENV)/installed-test
	$(PYTEST) --cov=core --cov=backends --cov=tasks --cov=seqtwin --cov-report=term:skip-covered $(ARGS)

$(VENV)/installed-%: $(INSTALLED_FROM)
	@echo "installing into $(VENV): a minute or two"
	@echo "compiling the C++ library of backends/kernels: half a minute of CPU time, included in that time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The tests compare the frameworks and require both.
$(VENV)/installed-test: $(INSTALLED_FROM)
	@echo "installing into $(VENV): a minute or two"
	@echo "compiling the C++ library of backends/kernels: half a minute of CPU time, included in that time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info backends/kernels/recurrent.so backends/kernels/recurrent.txt
