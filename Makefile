# Every target makes .venv by itself from constraints.txt; a second run is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test slow lint clean

demo: $(READY)
	$(BIN)/python -m diffpixel_core demo

test: $(READY)
	$(BIN)/python -m pytest -m 'not slow and not gpu and not weights'

slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

$(READY): constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -c constraints.txt -e '.[rooms,train,data,engines,export,test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info out
