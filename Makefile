# Each of these sets everything up in .venv on its first use: `make imdb`, `make parity`, `make test`.

PYTHON ?= python3
BACKEND ?= paddle
ARGS ?=
VENV := .venv
# A change to any of these installs again; the last ones are compiled.
INSTALLED_FROM := pyproject.toml constraints.txt setup.py $(wildcard backends/kernels/*.cpp backends/kernels/*.h)

.PHONY: imdb parity test clean

# Of what pyproject.toml offers: `both` frameworks are in `all`.
EXTRA := $(if $(filter both,$(BACKEND)),all,$(BACKEND))

imdb: $(VENV)/installed-$(EXTRA)
	$(VENV)/bin/python -m tasks.imdb --backend $(BACKEND) $(ARGS)

parity: $(VENV)/installed-all
	$(VENV)/bin/python -m tasks.parity $(ARGS)

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

$(VENV)/installed-%: $(INSTALLED_FROM)
	@echo "installing into $(VENV): a minute or two"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The tests hold the frameworks against each other: they want both.
$(VENV)/installed-test: $(INSTALLED_FROM)
	@echo "installing into $(VENV): a minute or two"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info backends/kernels/recurrent.so backends/kernels/recurrent.txt
