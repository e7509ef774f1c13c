#!/usr/bin/env bash
# Fetches the SOCKS 5 proxy microsocks for the tests, once, and prints its path. Exits with 77, and says why, where there is
# none.
set -euo pipefail
exec "$(dirname "$0")/../debian-package.sh" microsocks microsocks 1.0.3-2 \
	9aa6f6683bbb4bceb36f95148490717e8633a7220d4e5cc7deceb90024f05a3e
