# Every target runs from a fresh clone: what it needs of MariaDB it installs (Debian, Ubuntu) and starts by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build demo test race soak guards fuzz bench lint check

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_FLAGS := -trimpath -ldflags '-s -w -X github.com/puqkvm/puqkvm/cmd.version=$(VERSION)'
MARIADB := scripts/mariadb.sh
FUZZTIME := 5s

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## bin/puqkvm: static, version stamped
	CGO_ENABLED=0 go build $(GO_FLAGS) -o bin/puqkvm .

demo: ## three orders become running VMs, on a throw-away database and a simulated cluster
	@$(MAKE) --no-print-directory build >&2
	@$(MARIADB) install
	@$(MARIADB) run -- bin/puqkvm demo

test: ## every test, with its own MariaDB and the race detector
	@$(MARIADB) install
	$(MARIADB) run -- go test -race -timeout 15m ./...

race: test ## the same: tests always run with the race detector

soak: ## every crash point of every kind, and the long random tests
	@$(MARIADB) install
	PUQKVM_SOAK=1 $(MARIADB) run -- go test -timeout 60m -v -run 'TestCrash$$' ./cmd

guards: ## take each guard out of the code, and see the test go red that must catch it
	@$(MARIADB) install
	$(MARIADB) run -- scripts/guards.sh

fuzz: ## every fuzz target for FUZZTIME (5s)
	@scripts/fuzz.sh $(FUZZTIME)

bench: build ## figures beside their aims; BENCH=start|deploy|pending|packages for a part of them
	@$(MARIADB) install
	$(MARIADB) run -- scripts/bench.sh

lint: ## gofmt, go vet, staticcheck, go mod tidy
	@scripts/lint.sh

check: lint test ## what must pass before a commit
