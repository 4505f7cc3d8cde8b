#!/bin/bash
# A throw-away MariaDB server for tests and the demo. It listens on a socket in a temporary directory and nowhere else,
# and is gone, data and all, when the command that it was started for ends.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
account=puqkvm-mariadb # runs the server when the caller is root, since mariadbd will not
packages=(mariadb-server-core mariadb-client-core)
programs=(mariadbd mariadb-install-db mariadb)

usage() {
	cat >&2 <<-'END'
		usage: scripts/mariadb.sh install          install MariaDB's server and client programs (Debian, Ubuntu)
		       scripts/mariadb.sh run [--] CMD...  run CMD with PUQKVM_TEST_MYSQL naming a fresh server

		run ends with CMD's exit code. PUQKVM_TEST_MYSQL is a DSN of go-sql-driver/mysql without a database.
		An initialised data directory is kept in ${XDG_CACHE_HOME:-~/.cache}/puqkvm, so that a start takes a second.
	END
}

say() { echo "${0##*/}: $*" >&2; }

die() {
	say "$@"
	exit 1
}

missing() {
	local p
	for p in "${programs[@]}"; do
		command -v "$p" >/dev/null || echo "$p"
	done
}

install_packages() {
	local without as_root=()
	without=$(missing)
	if [[ -z $without ]]; then
		say "nothing to do: $(mariadbd --version)"
		return
	fi
	command -v apt-get >/dev/null ||
		die "no ${without//$'\n'/, } and no apt-get here: install MariaDB's server (10.3 or later) with your system's own means"
	if [[ $(id -u) != 0 ]]; then
		sudo -n true 2>/dev/null ||
			die "installing needs root: as root, run apt-get install --no-install-recommends ${packages[*]}"
		as_root=(sudo -n)
	fi
	say "installing ${packages[*]} (programs only: no service is set up or started)"
	"${as_root[@]}" apt-get update >&2
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >&2
	without=$(missing)
	[[ -z $without ]] || die "installed, but ${without//$'\n'/, } is still missing"
}

# as_server CMD... replaces this process by CMD as the user that the server runs as.
as_server() {
	local drop=()
	if [[ $(id -u) = 0 ]]; then
		drop=(--reuid="$account" --regid="$(id -g "$account")" --clear-groups --no-new-privs)
	fi
	exec setpriv "${drop[@]}" --pdeathsig KILL "$@"
}

make_account() {
	id "$account" >/dev/null 2>&1 && return
	useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$account" 2>/dev/null ||
		id "$account" >/dev/null 2>&1 || die "cannot make the user $account that the server would run as"
}

# fill_data makes $dir/data: a copy of the template, which is made first where there is none. The template gets its name
# by one rename, so two runs at once either see it whole or not at all.
fill_data() {
	local cache template new
	cache=${XDG_CACHE_HOME:-${HOME:-$dir}/.cache}/puqkvm
	template=$cache/mariadb-$({
		mariadbd --version
		id -u
		echo 1
	} | cksum | cut -d' ' -f1)
	if [[ -d $template ]]; then
		cp -a --reflink=auto "$template" "$dir/data"
		return
	fi
	say "making a data directory (once)"
	mkdir "$dir/data"
	if [[ $(id -u) = 0 ]]; then chown "$account" "$dir/data"; fi
	(as_server mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal \
		--skip-test-db --skip-name-resolve --innodb-log-file-size=8M) >"$dir/install.log" 2>&1 </dev/null || {
		tail -n 20 "$dir/install.log" >&2
		die "mariadb-install-db did not make a data directory; its last words are above"
	}
	if mkdir -p "$cache" 2>/dev/null && new=$(mktemp -d "$cache/.new.XXXXXX" 2>/dev/null); then
		cp -a --reflink=auto "$dir/data" "$new/data"
		mv -T "$new/data" "$template" 2>/dev/null || true # somebody else was first
		rm -rf "$new"
	fi
}

# keep runs the server until stdin ends, which it does when the script that started keep is gone, however it went; then it
# removes the directory. The server is not asked to shut down: nothing of it is kept, and it may take its time over SIGTERM.
keep() {
	dir=$1
	trap '' INT TERM HUP
	(as_server mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/run/s" --pid-file="$dir/data/pid" \
		--tmpdir="$dir/data" --skip-networking --skip-name-resolve --skip-log-bin --performance-schema=OFF \
		--max-connections=400 --character-set-server=utf8mb4 --innodb-buffer-pool-size=64M --innodb-log-file-size=8M \
		--innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --skip-innodb-doublewrite \
		</dev/null >"$dir/server.log" 2>&1) &
	echo $! >"$dir/pid"
	read -r || true
	kill -KILL "$!" 2>/dev/null || true
	wait
	rm -rf "$dir"
}

# start_server starts keep outside this shell's jobs (bash's wait, interrupted by a trap, can hang while other jobs run)
# with a pipe of which this script alone holds the writing end, as descriptor 4.
start_server() {
	local socket=$dir/run/s tries
	((${#socket} < 100)) || die "$socket is too long for a socket's name: set TMPDIR to a shorter path"
	mkfifo "$dir/life"
	exec 4<>"$dir/life"
	exec 5<"$dir/life"
	setsid --fork "$BASH" "$0" keep "$dir" <&5 4>&- 5<&- >"$dir/keep.log" 2>&1
	exec 5<&-
	for ((tries = 0; tries < 1200; tries++)); do
		mariadb --no-defaults --socket="$socket" --user=root --execute='SELECT 1' >/dev/null 2>&1 </dev/null && break
		if [[ -s $dir/pid ]] && ! kill -0 "$(<"$dir/pid")" 2>/dev/null; then
			tries=1200
		fi
		sleep 0.05
	done
	if ((tries >= 1200)); then
		tail -n 20 "$dir/server.log" >&2
		die "the server did not start; its last words are above"
	fi
	export PUQKVM_TEST_MYSQL="root@unix($socket)/"
}

clean_up() {
	trap '' INT TERM HUP
	if [[ ! -p $dir/life ]]; then
		rm -rf "$dir"
		return
	fi
	exec 4>&-
	while [[ -d $dir ]]; do sleep 0.02; done
}

# pass SIGNAL CODE is the answer to a signal: CMD gets it too, and this script goes on waiting for CMD. What is typed at a
# terminal reaches CMD by itself.
pass() {
	interrupted=yes signalled=$2
	if [[ -z $child ]]; then
		exit "$2"
	fi
	if [[ $1 != INT || ! -t 0 ]]; then
		kill -s "$1" "$child" 2>/dev/null || true
	fi
}

run() {
	local without code=0
	without=$(missing)
	[[ -z $without ]] || die "no ${without//$'\n'/, } here: scripts/${0##*/} install"
	command -v setpriv >/dev/null || die "no setpriv here: install util-linux"
	child='' interrupted='' signalled=0
	dir=$(mktemp -d "${TMPDIR:-/tmp}/$account.XXXXXX")
	trap clean_up EXIT
	trap 'pass INT 130' INT
	trap 'pass TERM 143' TERM
	trap 'pass HUP 129' HUP
	mkdir "$dir/run"
	if [[ $(id -u) = 0 ]]; then
		make_account
		chmod 0711 "$dir" "$dir/run" # passable for the server and CMD, listable for nobody else
		chown "$account" "$dir/run"
	fi
	fill_data
	start_server
	# A shell starts background commands with SIGINT ignored and without stdin: both are given back.
	(
		trap - INT QUIT TERM HUP EXIT
		exec "$@" 4>&-
	) <&0 &
	child=$!
	while :; do
		interrupted=''
		code=0
		wait "$child" || code=$?
		[[ -n $interrupted ]] || break
	done
	if ((signalled != 0 && (code == 127 || code < 0))); then
		code=$signalled # CMD died as the signal came, and bash has forgotten with which code
	fi
	exit "$code"
}

install_all() { install_packages; }

# main is what a script of this family does with its arguments; keep is for its own use.
main() {
	case ${1-} in
	install)
		install_all
		;;
	keep)
		shift
		keep "$@"
		;;
	run)
		shift
		if [[ ${1-} = -- ]]; then shift; fi
		if (($# == 0)); then
			usage
			exit 2
		fi
		run "$@"
		;;
	*)
		usage
		exit 2
		;;
	esac
}

[[ ${BASH_SOURCE[0]} = "$0" ]] || return 0 # galera.sh and pdns.sh use what is above

main "$@"
