# Everything lives in .venv and book/_build; a command does again only what changed. `make help` lists the commands.

VENV := .venv
BIN := $(VENV)/bin
FOR_BOOK := $(VENV)/.installed-book
FOR_TESTS := $(VENV)/.installed-test
HTML := book/_build/html

export PYDEVD_DISABLE_FILE_VALIDATION := 1

.DEFAULT_GOAL := help
.PHONY: help book test lint fuzz bench sync serve picture lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

book: $(FOR_BOOK)  ## install, execute the chapters that changed, render book/_build/html
	$(BIN)/python -m book.tools.sync
	$(BIN)/python -m book.tools.execute
	$(BIN)/python -m book.tools.live
	$(BIN)/python -m book.tools.render

# The check comes first: building the book would mend what it is to find.
test: $(FOR_TESTS)  ## install, then all tests: derived files, lint, types, the book, the library, the notebooks
	$(BIN)/python -m book.tools.sync --check
	$(MAKE) lint book
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov --cov-report=term --nbmake -n 2 --dist loadfile notebooks tests

lint: $(FOR_TESTS)  ## ruff, a strict type check, the layers of the library, and the house style of the prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet notebooks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m book.tools.language >/dev/null

fuzz: $(FOR_TESTS)  ## feed 10,000 mutated files to every reader (the tests feed 1,000)
	$(BIN)/python -m tests.fuzz

bench: $(FOR_TESTS)  ## measure every speed that the book claims, on this machine
	$(BIN)/python -m tests.benchmarks

sync: $(FOR_BOOK)  ## make what derives from the chapters' sources: .ipynb files, set-up cells
	$(BIN)/python -m book.tools.sync

serve: book  ## build the book and serve it on http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory $(HTML) 8000

picture: $(FOR_TESTS) book  ## draw the README's picture of the landing page, where a Chromium is installed
	$(BIN)/python -m book.tools.picture

lock: $(FOR_TESTS)  ## renew constraints.txt, for every platform and Python at once
	$(BIN)/uv pip compile pyproject.toml --extra test --extra openclip --universal --upgrade \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url --quiet -o constraints.txt

clean:  ## remove what was built; the environment stays (rm -r .venv removes that)
	rm -rf book/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# The two variables pin what builds the package: pip < 25.3 reads the first where it builds, later ones the second.
# The stamp is written last, so an installation that was cut short is taken up again.
define install
	@start=$$(date +%s) && echo "installing the $(1) extra" && \
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(1)]' && \
	touch $@ && echo "installed in $$(($$(date +%s) - start)) s"
endef

$(FOR_BOOK): pyproject.toml constraints.txt
	@python=$$(sh book/tools/find_python.sh $(PYTHON)) && set -x && "$$python" -m venv $(VENV)
	$(call install,book)

$(FOR_TESTS): $(FOR_BOOK)
	$(call install,test)
