# Each of these sets everything up in .venv on its first use: `make imdb`, `make parity`, `make test`.

PYTHON ?= python3
BACKEND ?= paddle
ARGS ?=
VENV := .venv

.PHONY: imdb parity test clean

imdb: $(VENV)/installed-$(BACKEND)
	$(VENV)/bin/python -m tasks.imdb --backend $(BACKEND) $(ARGS)

parity: $(VENV)/installed-all
	$(VENV)/bin/python -m tasks.parity $(ARGS)

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest $(ARGS)

$(VENV)/installed-%: pyproject.toml constraints.txt
	@echo "installing into $(VENV): a minute or two"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The tests hold the frameworks against each other: they want both.
$(VENV)/installed-test: pyproject.toml constraints.txt
	@echo "installing into $(VENV): a minute or two"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
