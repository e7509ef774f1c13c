# Sourced by the scripts that fetch or build a program for the tests, once, into a folder of
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}. They set `program`, its name. Exit status 77: it cannot be had here.
cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}

skip() { # why
	echo "SKIPPED $program: $1" >&2
	exit 77
}

needs() { # tool…
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "not in $cache, and no $tool to fetch it with"
	done
}

needs_python() {
	python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
		skip "not in $cache, and no Python 3.10 with venv and pip to fetch it with"
}

# Whoever else fetches something is waited for.
lock() {
	needs flock
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
}

# Has the function `make` fill a folder, after `check` saw that it can, unless that was done before. Where it fails,
# nothing is left.
once() { # folder
	[ ! -f "$1/complete" ] || return 0
	check
	lock
	[ ! -f "$1/complete" ] || return 0
	rm -rf "$1"
	mkdir "$1"
	# shellcheck disable=SC2064
	trap "chmod -R u+w '$1'; rm -rf '$1'" EXIT
	make "$1" >&2
	touch "$1/complete"
	trap - EXIT
}
