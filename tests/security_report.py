#!/usr/bin/env python3
"""Runs the tests that measure attacks, and writes their figures into the table of docs/security.md."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"
# Each binary, and the tests in it that have figures.
TESTS = {
    "network": [
        "silent_sockets",
        "idle_strangers",
        "identify_push",
        "false_addresses",
        "forged_records",
        "first_contact_of_a_port_scan",
        "resolver",
        "port_taken_by_another_node",
        "through_proxy_goes_everything",
    ],
    "node": [
        "an_attacked_node_stays_within_its_memory",
        "before_consent",
        "processor_time_that_4_and_64_strangers_take",
        "turns_are_in_time_while_4_and_64_strangers_propose",
    ],
    "protocol": ["verified::", "declined_proposals_and_closed_ones"],
}


def main() -> int:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    figures = target / "figures.txt"
    figures.unlink(missing_ok=True)
    environment = {**os.environ, "MUSIG_FIGURES": str(figures)}
    for binary, filters in TESTS.items():
        # One at a time: the times are those of a machine that does nothing else.
        command = ["cargo", "test", "--quiet", "--test", binary, "--", "--test-threads=1", "--include-ignored", *filters]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
            print(f"security-report: tests of {binary} failed, the table is left as it is", file=sys.stderr)
            return 1
    rows = sorted(figures.read_text(encoding="utf-8").splitlines(keepends=True))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    table = "| attack | figure | value | measured by |\n|---|---|---|---|\n" + "".join(rows)
    PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")
    print(f"security-report: {len(rows)} figures in docs/security.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
