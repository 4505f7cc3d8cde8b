#!/bin/bash
# gofmt, go vet, staticcheck (pinned in scripts/tools/go.mod) and go mod tidy, all without changing a file.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l main.go cmd pkg)
if [[ -n $unformatted ]]; then
	echo "gofmt would change:" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet -tags galera ./...
go tool -modfile=scripts/tools/go.mod staticcheck -tags galera ./...
go mod tidy -diff
