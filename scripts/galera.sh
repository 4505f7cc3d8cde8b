#!/bin/bash
# A throw-away Galera cluster: three MariaDB nodes on loopback, each with its own ports and data directory, for the test of
# several cron hosts. Node 1 begins the cluster, the others join it by a state transfer. All of it is gone, data and all,
# when the command that it was started for ends.
set -euo pipefail

. "$(dirname "$0")/mariadb.sh"
packages+=(galera-4 rsync iproute2) # the state transfer looks at ports with ss
programs+=(rsync ss)
nodes=(1 2 3)

usage() {
	cat >&2 <<-'END'
		usage: scripts/galera.sh install          install MariaDB, Galera and rsync (Debian, Ubuntu)
		       scripts/galera.sh run [--] CMD...  run CMD beside three fresh nodes

		run ends with CMD's exit code. CMD finds in its environment:
		  PUQKVM_TEST_GALERA      three DSNs of go-sql-driver/mysql without a database, separated by blanks
		  PUQKVM_TEST_GALERA_DIR  a directory with N/pid and N/log of node N; "start N" written to the pipe life in it starts
		                          node N again
		  PUQKVM_TEST_MYSQL       the first of the DSNs
	END
}

provider() {
	local file
	for file in /usr/lib/galera/libgalera_smm.so /usr/lib64/galera-4/libgalera_smm.so; do
		if [[ -r $file ]]; then
			echo "$file"
			return
		fi
	done
}

missing() {
	local p
	for p in "${programs[@]}"; do
		command -v "$p" >/dev/null || echo "$p"
	done
	[[ -n $(provider) ]] || echo libgalera_smm.so
}

# transfer says where wsrep_sst_rsync and its parts are. Debian has them in mariadb-server, which would set up and start a
# service: install takes them out of that package instead.
transfer() {
	local own
	if own=$(command -v wsrep_sst_rsync); then
		dirname "$own"
	else
		echo "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/puqkvm/galera"
	fi
}

install_transfer() {
	local to tmp version
	to=$(transfer)
	[[ ! -x $to/wsrep_sst_rsync ]] || return 0
	version=$(dpkg-query --show --showformat='${Version}' mariadb-server-core)
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/puqkvm-galera.XXXXXX")
	say "taking the state transfer's scripts out of mariadb-server $version (nothing of it is installed)"
	(cd "$tmp" && apt-get -o "APT::Sandbox::User=$(id -un)" download "mariadb-server=$version" >&2 && dpkg-deb -x ./*.deb x) ||
		die "mariadb-server $version cannot be downloaded: run apt-get update, or install mariadb-server"
	mkdir -p "$to"
	cp "$tmp"/x/usr/bin/wsrep_sst_{common,rsync} "$to/"
	rm -rf "$tmp"
}

port() { echo $((base + 4 * ($1 - 1) + $2)); } # NODE 0 (SQL), 1 (group), 2 (incremental transfer), 3 (whole transfer)

# find_base finds twelve ports side by side on which nobody listens, below those that the system gives to clients.
find_base() {
	local tries p
	for ((tries = 0; tries < 100; tries++)); do
		base=$((12000 + RANDOM % 1500 * 12))
		for ((p = base; p < base + 12; p++)); do
			if (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then continue 2; fi
		done
		return
	done
	die "no twelve free ports on 127.0.0.1"
}

# start_node N ARG... starts node N, in the data directory that it has.
start_node() {
	local n=$1 members=() m
	shift
	for m in "${nodes[@]}"; do members+=("127.0.0.1:$(port "$m" 1)"); done
	(
		trap - INT TERM HUP
		PATH=$dir/sst:$PATH
		as_server mariadbd --no-defaults --datadir="$dir/$n/data" --socket="$dir/$n/data/s" --pid-file="$dir/$n/data/pid" \
			--tmpdir="$dir/$n/data" --bind-address=127.0.0.1 --port="$(port "$n" 0)" --skip-name-resolve --skip-log-bin \
			--performance-schema=OFF --max-connections=400 --character-set-server=utf8mb4 \
			--innodb-buffer-pool-size=64M --innodb-log-file-size=8M \
			--binlog-format=ROW --innodb-autoinc-lock-mode=2 --innodb-flush-log-at-trx-commit=1 \
			--wsrep-on=ON --wsrep-provider="$(provider)" --wsrep-cluster-name=puqkvm \
			--wsrep-cluster-address="gcomm://$(IFS=,; echo "${members[*]}")" \
			--wsrep-node-name="node$n" --wsrep-node-address=127.0.0.1 \
			--wsrep-sst-method=rsync --wsrep-sst-receive-address="127.0.0.1:$(port "$n" 3)" \
			--wsrep-provider-options="gmcast.listen_addr=tcp://127.0.0.1:$(port "$n" 1);ist.recv_addr=127.0.0.1:$(port "$n" 2);gcache.size=32M" "$@"
	) </dev/null >>"$dir/$n/log" 2>&1 &
	echo $! >"$dir/$n/pid"
}

# others are the processes of this session but this one: the nodes, and what they have started.
others() {
	local stat line
	for stat in /proc/[0-9]*/stat; do
		{ read -r line <"$stat"; } 2>/dev/null || continue
		set -- ${line##*) }
		if [[ $4 = "$$" && ${line%% *} != "$$" && ${line%% *} != "$BASHPID" && $1 != Z ]]; then echo "${line%% *}"; fi
	done
}

# keep starts the nodes that it is told of until stdin ends, which it does when the script that started keep is gone, however
# it went; then it ends them all and removes the directory.
keep() {
	local word n more pids
	dir=$1 base=$2
	trap '' INT TERM HUP
	while read -r word n more; do
		if [[ $word = start ]]; then start_node "$n" ${more:+"$more"}; fi
	done
	while pids=$(others) && [[ -n $pids ]]; do
		kill -KILL $pids 2>/dev/null || true
		sleep 0.05
	done
	rm -rf "$dir"
}

state() {
	mariadb --no-defaults --host=127.0.0.1 --port="$(port "$1" 0)" --user=root --skip-column-names --batch \
		--execute="SHOW STATUS LIKE 'wsrep_local_state_comment'" 2>/dev/null </dev/null || true
}

# start_server starts the nodes one after the other. See mariadb.sh for the pipe.
start_server() {
	local n tries dsns=()
	[[ -x $(transfer)/wsrep_sst_rsync ]] || die "no wsrep_sst_rsync here: scripts/galera.sh install"
	find_base
	mkdir "$dir/sst"
	cp "$(transfer)"/wsrep_sst_{common,rsync} "$dir/sst/"
	mkdir "${nodes[@]/#/$dir/}"
	mv "$dir/data" "$dir/1/data"
	mkdir "$dir/2/data" "$dir/3/data"
	if [[ $(id -u) = 0 ]]; then
		chmod 0711 "$dir"/{1,2,3}
		chmod -R a+rX "$dir/sst"
		chown "$account" "$dir"/{2,3}/data
	fi
	mkfifo "$dir/life"
	exec 4<>"$dir/life"
	exec 5<"$dir/life"
	setsid --fork "$BASH" "$0" keep "$dir" "$base" <&5 4>&- 5<&- >"$dir/keep.log" 2>&1
	exec 5<&-
	for n in "${nodes[@]}"; do
		if ((n == 1)); then echo "start 1 --wsrep-new-cluster" >&4; else echo "start $n" >&4; fi
		for ((tries = 0; tries < 600; tries++)); do
			[[ $(state "$n") != *Synced ]] || break
			sleep 0.1
		done
		if ((tries >= 600)); then
			tail -n 20 "$dir/$n/log" >&2
			die "node $n did not join; its last words are above"
		fi
		dsns+=("root@tcp(127.0.0.1:$(port "$n" 0))/")
	done
	export PUQKVM_TEST_MYSQL=${dsns[0]} PUQKVM_TEST_GALERA="${dsns[*]}" PUQKVM_TEST_GALERA_DIR=$dir
}

install_all() {
	install_packages
	install_transfer
}

main "$@"
