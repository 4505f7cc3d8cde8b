# Every target runs from a fresh clone: what it needs of MariaDB and PowerDNS it installs (Debian, Ubuntu) and starts by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build demo test race soak guards fuzz bench galera readme lint check

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_FLAGS := -trimpath -ldflags '-s -w -X github.com/puqkvm/puqkvm/cmd.version=$(VERSION)'
MARIADB := scripts/mariadb.sh
PDNS := scripts/pdns.sh
FUZZTIME := 5s

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## bin/puqkvm: static, version stamped
	CGO_ENABLED=0 go build $(GO_FLAGS) -o bin/puqkvm .

demo: ## three orders become running VMs, on a throw-away database and a simulated cluster
	@$(MAKE) --no-print-directory build >&2
	@$(MARIADB) install
	@$(MARIADB) run -- bin/puqkvm demo

test: ## every test, with its own MariaDB and PowerDNS and the race detector
	@$(MARIADB) install
	@$(PDNS) install
	$(MARIADB) run -- $(PDNS) run -- go test -race -timeout 30m ./...

race: test ## the same: tests always run with the race detector

soak: ## every crash point of every kind, every cell of the fault matrix, eight processes for 20 rounds, 100 000 random steps
	@$(MARIADB) install
	PUQKVM_SOAK=1 $(MARIADB) run -- go test -p 1 -timeout 180m -v -run '^(TestModel|TestCrash|TestFaultMatrix|TestFaultMatrixLater|TestEightProcesses|TestTroubleWithEveryCall)$$' ./cmd ./pkg/lifecycle

guards: ## take each guard out of the code, and see the test go red that must catch it
	@$(MARIADB) install
	$(MARIADB) run -- scripts/guards.sh

fuzz: ## every fuzz target for FUZZTIME (5s)
	@scripts/fuzz.sh $(FUZZTIME)

bench: build ## figures beside their aims; BENCH=start|deploy|life|pending|dns|statistics|backups|packages for a part of them
	@$(MARIADB) install
	@$(PDNS) install
	$(MARIADB) run -- $(PDNS) run -- scripts/bench.sh

galera: ## three Galera nodes and a cron host at each; a node and a process are killed on the way
	@scripts/galera.sh install
	scripts/galera.sh run -- go test -tags galera -count 1 -timeout 10m -run '^TestGalera$$' -v ./cmd

readme: ## write what the README draws from the program's own tables
	go test ./cmd -run '^TestReadmeStatuses$$' -update-readme

lint: ## gofmt, go vet, staticcheck, go mod tidy
	@scripts/lint.sh

check: lint test ## what must pass before a commit
