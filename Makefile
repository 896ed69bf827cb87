# The two commands of the README are `make course` and `make test`. Each does all set-up itself, and only once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COURSE := _build/course
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

# One thread per process: two on a busy two-core machine were ten times slower.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: course book class release test lint format gate bench lock clean help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make course   set up, release the exercises, build the book, grade the sample class
course: $(READY) release book class
	@$(BIN)/python tools/show_course.py

## make test     set up and run every test
test: $(READY) release
	@$(BIN)/python -m pytest -n $(JOBS) --no-loadscope-reorder --durations 25

## make release  the student notebooks in book/exercises/, from solutions/
release: $(READY)
	@$(BIN)/autograder release

## make book     the book in _build/html; a warning or a cell error fails
book: $(READY) release
	@$(BIN)/python tools/build_book.py

## make class    grade the sample class in _build/course
class: $(READY)
	@$(BIN)/autograder sample $(COURSE) --jobs $(JOBS)

## make gate     prove that every exercise's tests tell right from wrong
gate: $(READY)
	@$(BIN)/autograder gate

## make lint     ruff, and mypy on the library
lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

## make format   let ruff rewrite the code in the project's form
format: $(READY)
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

## make bench    every benchmark; prints ratios
bench: $(READY)
	@$(BIN)/python benchmarks/run_all.py

## make lock     resolve requirements.in into requirements.lock and environment.yml
lock:
	@$(PYTHON) tools/make_lock.py

## make clean    remove what was built; .venv stays
clean:
	rm -rf _build

$(READY): requirements.lock lib/pyproject.toml autograder/pyproject.toml tools/make_venv.py
	@$(PYTHON) tools/make_venv.py $(VENV)
