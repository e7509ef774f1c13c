#!/usr/bin/env bash
# Fetches Prometheus' promtool for the tests, once, and prints the folder of it and of prometheus. Exits with 77, and says
# why, where there is none.
set -euo pipefail
promtool=$("$(dirname "$0")/../debian-package.sh" prometheus promtool 2.42.0+ds-5+deb12u1 \
	81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55)
dirname "$promtool"
