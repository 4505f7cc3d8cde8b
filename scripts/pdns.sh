#!/bin/bash
# A throw-away PowerDNS Authoritative server for tests, with SQLite behind it. It listens on two free ports of 127.0.0.1 and
# nowhere else, asks nobody outside, has no zones yet, and is gone, data and all, when the command that it was started for ends.
set -euo pipefail

. "$(dirname "$0")/mariadb.sh"
account=puqkvm-pdns # runs the server when the caller is root
packages=(pdns-server pdns-backend-sqlite3 sqlite3)
programs=(pdns_server sqlite3)

usage() {
	cat >&2 <<-'END'
		usage: scripts/pdns.sh install          install PowerDNS's server, its SQLite backend and sqlite3 (Debian, Ubuntu)
		       scripts/pdns.sh run [--] CMD...  run CMD with PUQKVM_TEST_POWERDNS naming a fresh server

		run ends with CMD's exit code. PUQKVM_TEST_POWERDNS has three words: the URL of the API, its key, and the host:port that
		answers DNS queries.
	END
}

schema() {
	local file
	for file in /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql /usr/share/doc/pdns*/schema.sqlite3.sql; do
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
	[[ -n $(schema) ]] || echo schema.sqlite3.sql
}

# install_packages sets up no service: on a machine with systemd the unit is masked while the package is configured, and
# disabled afterwards. A server that was there before is left as it is.
install_packages() {
	local without
	as_root=()
	without=$(missing)
	if [[ -z $without ]]; then
		say "nothing to do: $(pdns_server --version 2>&1 | grep -om1 'PowerDNS Authoritative Server [^ ]*')"
		return
	fi
	command -v apt-get >/dev/null ||
		die "no ${without//$'\n'/, } and no apt-get here: install PowerDNS's server (4.6 or later), its SQLite backend and sqlite3 with your system's own means"
	if [[ $(id -u) != 0 ]]; then
		sudo -n true 2>/dev/null ||
			die "installing needs root: as root, run apt-get install --no-install-recommends ${packages[*]} (Debian's package starts a service on port 53)"
		as_root=(sudo -n)
	fi
	say "installing ${packages[*]} (no service is started or left enabled)"
	"${as_root[@]}" apt-get update >&2
	if [[ -d /run/systemd/system ]] && ! command -v pdns_server >/dev/null; then
		trap unmask EXIT
		"${as_root[@]}" systemctl mask --runtime pdns.service >&2
	fi
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >&2 ||
		say "apt-get failed"
	without=$(missing)
	[[ -z $without ]] || die "${without//$'\n'/, } is still missing"
}

unmask() {
	"${as_root[@]}" systemctl unmask --runtime pdns.service >&2
	"${as_root[@]}" systemctl disable pdns.service >&2 || true # the package has enabled it
}

# fill_data makes $dir/data: an empty database.
fill_data() {
	mkdir -m 0700 "$dir/data"
	{
		echo 'PRAGMA synchronous = OFF;'
		cat "$(schema)"
	} | sqlite3 "$dir/data/db" || die "sqlite3 did not make a database of $(schema)"
	if [[ $(id -u) = 0 ]]; then chown -R "$account" "$dir/data"; fi
}

# start_pdns TRY API DNS KEY starts the server on these two ports. Nothing is cached: what is written is answered at once.
start_pdns() {
	local data=$dir/data
	cat >"$data/pdns.conf" <<-END
		launch=gsqlite3
		gsqlite3-database=$data/db
		gsqlite3-dnssec=yes
		gsqlite3-pragma-synchronous=0
		local-address=127.0.0.1
		local-port=$3
		webserver=yes
		webserver-address=127.0.0.1
		webserver-port=$2
		webserver-allow-from=127.0.0.1
		api=yes
		api-key=$4
		socket-dir=$data
		write-pid=no
		daemon=no
		guardian=no
		disable-syslog=yes
		security-poll-suffix=
		cache-ttl=0
		negquery-cache-ttl=0
		query-cache-ttl=0
		zone-cache-refresh-interval=0
	END
	(as_server pdns_server --config-dir="$data" </dev/null >"$dir/$1.log" 2>&1) &
	echo $! >"$dir/$1.pid"
}

# keep starts the server on the ports that it is told of, in place of one that could not have its ports, until stdin ends,
# which it does when the script that started keep is gone, however it went; then it removes the directory.
keep() {
	local word try api dns key
	dir=$1
	trap '' INT TERM HUP
	while read -r word try api dns key; do
		[[ $word = start ]] || continue
		stop_pdns
		start_pdns "$try" "$api" "$dns" "$key"
	done
	stop_pdns
	rm -rf "$dir"
}

stop_pdns() {
	if [[ -n ${!-} ]]; then
		kill -KILL "$!" 2>/dev/null || true
		wait
	fi
}

# free_port is a port below those that the system gives to clients, on which nobody listens just now.
free_port() {
	local tries p
	for ((tries = 0; tries < 100; tries++)); do
		p=$((10000 + (RANDOM << 15 | RANDOM) % 22000))
		if (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then continue; fi
		echo "$p"
		return
	done
	die "no free port on 127.0.0.1"
}

# answers PORT KEY is true when the API there takes the key: it is ours then, and answers DNS already.
answers() (
	{ exec 6<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || exit 1
	printf 'GET /api/v1/servers/localhost HTTP/1.0\r\nHost: 127.0.0.1\r\nX-API-Key: %s\r\n\r\n' "$2" >&6 2>/dev/null || exit 1
	read -r -t 5 _ status _ <&6 && [[ $status = 200 ]]
)

# up TRY PORT KEY waits until the server is there. One that cannot have the API's port goes on without it.
up() {
	local tries
	for ((tries = 0; tries < 1200; tries++)); do
		if answers "$2" "$3"; then return 0; fi
		if grep -qs 'Address already in use' "$dir/$1.log"; then return 1; fi
		if [[ -s $dir/$1.pid ]] && ! kill -0 "$(<"$dir/$1.pid")" 2>/dev/null; then return 1; fi
		sleep 0.05
	done
	return 1
}

# start_server starts keep, and lets it try ports until there are two that nobody has. See mariadb.sh for the pipe.
start_server() {
	local try api dns key
	key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
	mkfifo "$dir/life"
	exec 4<>"$dir/life"
	exec 5<"$dir/life"
	setsid --fork "$BASH" "$0" keep "$dir" <&5 4>&- 5<&- >"$dir/keep.log" 2>&1
	exec 5<&-
	for ((try = 1; try <= 20; try++)); do
		api=$(free_port)
		dns=$(free_port)
		if [[ $api = "$dns" ]]; then continue; fi
		echo "start $try $api $dns $key" >&4
		if up "$try" "$api" "$key"; then
			export PUQKVM_TEST_POWERDNS="http://127.0.0.1:$api $key 127.0.0.1:$dns"
			return
		fi
		grep -qs 'Address already in use' "$dir/$try.log" || break
	done
	tail -n 20 "$dir"/*.log >&2
	die "the server did not start; its last words are above"
}

main "$@"
