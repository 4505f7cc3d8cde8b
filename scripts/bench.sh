#!/bin/bash
# Figures: the program's size and start, an idle tick among 100 000 services, deploys against the simulated cluster, and
# the packages' own benchmarks. The server that scripts/mariadb.sh starts is needed. Aims: start-up 12 MB and 10 ms; an idle
# tick at most 10 statements, no Proxmox request, 30 MB of memory, and 3 times a process that only connects.
set -euo pipefail
cd "$(dirname "$0")/.."
figures() { grep -E '^(goos|cpu|Benchmark|---|FAIL|panic| )' || true; }
go test ./cmd -run '^$' -bench . -benchtime 1x | figures
grep -rlE '^func Benchmark' --include='*_test.go' pkg | xargs -n1 dirname | sort -u | while read -r dir; do
	echo "== $dir"
	go test "./$dir" -run '^$' -bench . -benchtime 0.5s </dev/null | figures
done
