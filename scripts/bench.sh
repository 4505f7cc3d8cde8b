#!/bin/bash
# Figures, beside what is aimed at; the servers that scripts/mariadb.sh and scripts/pdns.sh start are needed. BENCH chooses a
# part:
#
#   start      the program's size and start, an idle tick among 100 000 services
#   deploy     1 to 1000 orders on eight simulated nodes, in real time: about ten minutes
#   life       1000 package changes and 1000 terminates on eight simulated nodes, in real time: about ten minutes
#   pending    10 000 orders on a Proxmox that takes no time: memory and growth
#   dns        200 VMs at once, and one with 64 addresses, at each DNS provider, beside what the server alone can do
#   statistics the traffic of 10 000 VMs is counted
#   backups    100 000 schedules of which none or 500 are due, old snapshots among 10 000 VMs, a list of ten backups
#   packages   the packages' own benchmarks
#
# or several of them; without it all are run. PUQKVM_TEST_CPUPROFILE=FILE leaves a processor profile of each tick of deploy
# and pending at FILE.PID, for go tool pprof.
set -euo pipefail
cd "$(dirname "$0")/.."
bench() { # bench PACKAGE PATTERN BENCHTIME
	echo "== $1 $2"
	go test "$1" -run '^$' -bench "$2" -benchtime "$3" -timeout 40m </dev/null | sed -E '/^(PASS|goos:|goarch:|pkg:|ok )/d'
}
for part in ${BENCH:-start deploy life pending dns statistics backups packages}; do
	case $part in
	start)
		bench ./cmd 'Startup|IdleTick' 1x
		echo "aims: 12 MB, 10 ms; an idle tick of one task 10 statements, 30 MB-rss, 3 times the median of a process that only connects (bare);"
		echo "of all tasks but the hourly one (all) 22 statements, 0 pve-requests, 30 MB-rss, 50 ms"
		;;
	deploy) bench ./cmd 'Deploy' 1x ;;
	life) bench ./cmd 'Life' 1x ;;
	pending) bench ./cmd 'Pending' 1x ;;
	dns) bench ./cmd 'DNS' 1x ;;
	statistics) bench ./cmd 'Statistics' 1x ;;
	backups)
		bench ./cmd 'Scheduled|OldSnapshots|BackupList' 1x
		echo "aims: a list of backups 3 pve-requests, 0 extractconfig for those of the journal"
		;;
	packages)
		grep -rlE '^func Benchmark' --include='*_test.go' pkg | xargs -n1 dirname | sort -u | while read -r dir; do
			bench "./$dir" . 0.5s
		done
		;;
	*)
		echo "bench.sh: no part $part; there is start, deploy, life, pending, dns, statistics, backups, packages" >&2
		exit 2
		;;
	esac
done
