#!/usr/bin/env python3
"""What changed between two tables of `make bench`: compare.py OLD [NEW], by default target/bench.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def rows(path: Path) -> dict[str, dict]:
    return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def figure(row: dict | None) -> float | None:
    """The ratio, where there is one: the machine's speed is not in it."""
    if row is None:
        return None
    return row["value"] if row["ratio"] is None else row["ratio"]


def shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.4g}"


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    old, new = rows(Path(sys.argv[1])), rows(Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "target" / "bench.json")
    print(f"{'':<28} {'old':>10} {'new':>10} {'change':>8}")
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = figure(old.get(name)), figure(new.get(name))
        change = f"{100 * (after / before - 1):+.1f} %" if before and after is not None else ""
        row = new.get(name) or old[name]
        unit = row["unit"] if row["ratio"] is None else "×"
        print(f"{name:<28} {shown(before):>10} {shown(after):>10} {change:>8} {unit}")
        passed = [table.get(name, {}).get("pass") for table in (old, new)]
        if passed == [True, False]:
            print(f"{'':<28} it missed its target {row['target']}, which it reached before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
