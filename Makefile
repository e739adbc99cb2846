# Two commands matter: `make run` (the demo) and `make test`. Both install first, and are quick the second time.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml scripts/install.sh 2>/dev/null | cksum | cut -d' ' -f1)
ARGS ?=

.PHONY: run test lint format install lock clean help

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: install ## Install, then run the demo end to end (ARGS="--keep-up" leaves the services up)
	@$(BIN)/tidegate demo $(ARGS)

test: install ## Install, then run the tests (the long drills in their short form)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: install ## Linters: style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright

format: install ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(STAMP) ## Create .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml scripts/install.sh
	@bash scripts/install.sh "$(PYTHON)" "$(VENV)"
	@rm -f $(VENV)/.installed-*
	@touch $@

lock: ## Resolve requirements.lock anew within the caps of pyproject.toml
	@bash scripts/lock.sh "$(PYTHON)"

clean: ## Remove .venv and everything under var/
	rm -rf $(VENV) var
