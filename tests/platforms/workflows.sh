#!/usr/bin/env bash
# The workflow files by actionlint, which Go builds once. They are not run here: this says that they are well-formed.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=v1.7.12
command -v go >/dev/null || {
	echo "SKIPPED workflows: no Go to build actionlint with"
	exit 77
}
folder=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}/actionlint-$version
[ -x "$folder/actionlint" ] || GOBIN=$folder GOFLAGS=-mod=mod go install "github.com/rhysd/actionlint/cmd/actionlint@$version"
"$folder/actionlint" -no-color .github/workflows/*.yml
