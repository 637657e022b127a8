# make demo: set up, then every stage of recipes/flava-tiny.yaml, its evaluation and its report.
# make test: style, types, tests. make slow: the tests that take minutes, such as ten kills at random moments.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test slow setup clean

demo: $(READY)
	$(BIN)/vltk data fetch shapes
	$(BIN)/vltk train flava-tiny
	$(BIN)/vltk eval flava-tiny --suite shapes
	$(BIN)/vltk report flava-tiny

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy vltk
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

slow: $(READY)
	$(BIN)/pytest -m slow

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; none was found"; exit 3; }
	$(PYTHON) -m venv .venv
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist
