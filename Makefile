# Every target works as the first command in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUTPUT ?= demo_output

.PHONY: demo test lint format bench clean

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python \
		-e ".[evaluation,datasets,test]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m tensorflow_model_remediation_ext.demo \
		--output-dir $(OUTPUT) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(OUTPUT) build dist *.egg-info
