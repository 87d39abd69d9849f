# `make demo` and `make test` need only python3 (3.11 or newer); everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow sanitize lava peers clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/snnkit demo

test: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/check.py

slow: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/check.py --slow

sanitize: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/sanitize.py

lava:
	scripts/make_lava_env.sh

peers:
	scripts/make_energy_peers.sh $(PYTHON)

clean:
	rm -rf $(VENV) .venv-lava .venv-sanafe .venv-neurobench build *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "snnkit needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": run make with PYTHON=python3.11 (or newer)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $(STAMP)
