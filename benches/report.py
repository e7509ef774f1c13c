#!/usr/bin/env python3
"""Writes the table of target/bench.json into docs/performance.md, and the charts beside it: `make bench-report`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"

STYLE = """
  .ground { fill: #ffffff } .frame { fill: none; stroke: #8a8a8a } .grid { stroke: #e2e2e2 }
  text { fill: #222222; font: 13px sans-serif } .small { font-size: 11.5px }
  .own { fill: none; stroke: #0072b2; stroke-width: 2 } .peer { fill: none; stroke: #d55e00; stroke-width: 1.5; stroke-dasharray: 5 4 }
  .other { fill: none; stroke: #009e73; stroke-width: 1.5; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #16191d } .grid { stroke: #353a40 } text { fill: #e4e4e4 }
  }
"""
PANEL = (360, 240)


def shown(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}".replace(",", " ") if abs(number) >= 1000 else f"{number:.3g}"


def table(report: dict) -> str:
    # A mean over a minute: what ended just before is still in it.
    busy = report["load_before"] > 0.75 * report["cores"]
    lines = [
        f"Size: {report['size']}; {report['cores']} cores; load average before the run: {report['load_before']:.1f}.\n\n",
        "**The machine was busy: times are several times those of an idle one.** Bytes, counts and ratios say more.\n\n"
        if busy else "",
        "| id | what | value | | reference | ratio | target | reached |\n|---|---|---|---|---|---|---|---|\n",
    ]
    verdicts = {True: "yes", False: "**no**", None: ""}
    for row in report["rows"]:
        cells = [f"`{row['id']}`", row["what"], shown(row["value"]), row["unit"], shown(row["reference"]),
                 shown(row["ratio"]), row["target"] or "", verdicts[row["pass"]]]
        lines.append("| " + " | ".join(cells) + " |\n")
    lines.append("\n| topic | seconds | seconds of CPU time |\n|---|---|---|\n")
    for topic in report["topics"]:
        lines.append(f"| {topic['topic']} | {topic['wall_seconds']:.0f} | {topic['cpu_seconds']:.0f} |\n")
    return "".join(lines)


Points = list[tuple[float, float]]


def panel(left: float, title: str, axes: tuple[str, str], series: list[tuple[str, str, Points]]) -> str:
    """Both axes are logarithmic. A series has its class, its name, its points."""
    points = [point for _, _, some in series for point in some]
    if len(points) < 2:
        return ""
    decades = [(math.floor(math.log10(min(p[axis] for p in points))), math.ceil(math.log10(max(p[axis] for p in points))))
               for axis in (0, 1)]
    decades = [(low, max(high, low + 1)) for low, high in decades]
    width, height = PANEL
    top = 60.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        part = [(math.log10(point[axis]) - decades[axis][0]) / (decades[axis][1] - decades[axis][0]) for axis in (0, 1)]
        return left + part[0] * width, top + height - part[1] * height

    out = [f'<text x="{left + width / 2}" y="{top - 12}" text-anchor="middle">{title}</text>']
    for axis in (0, 1):
        for power in range(decades[axis][0], decades[axis][1] + 1):
            value = 10.0 ** power
            low = 10.0 ** decades[1 - axis][0]
            x, y = place((value, low) if axis == 0 else (low, value))
            x2, y2 = (x, top) if axis == 0 else (left + width, y)
            out.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
            x, y, anchor = (x, y + 16, "middle") if axis == 0 else (x - 6, y + 4, "end")
            out.append(f'<text class="small" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{value:g}</text>')
    out.append(f'<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>')
    out.append(f'<text class="small" x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">{axes[0]}</text>')
    out.append(f'<text class="small" transform="translate({left - 44} {top + height / 2}) rotate(-90)" '
               f'text-anchor="middle">{axes[1]}</text>')
    for number, (style, name, some) in enumerate(series):
        places = [place(point) for point in sorted(some)]
        out.append(f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        out.extend(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places)
        y = top + 18 + 18 * number
        out.append(f'<line class="{style}" x1="{left + 10}" y1="{y - 4}" x2="{left + 36}" y2="{y - 4}"/>')
        out.append(f'<text class="small" x="{left + 42}" y="{y}">{name}</text>')
    return "\n".join(out) + "\n"


def chart(report: dict) -> str:
    rows = {row["id"]: row for row in report["rows"] if row["value"] is not None}

    def points(prefix: str, suffix: str, field: str) -> Points:
        found = []
        for name, row in rows.items():
            number = name.removeprefix(prefix).removesuffix(suffix)
            if name == f"{prefix}{number}{suffix}" and number.isdigit() and row[field]:
                found.append((float(number), row[field]))
        return found

    sessions = points("n", "_ms", "value")
    if "five_processes_ms" in rows:
        sessions.append((5.0, rows["five_processes_ms"]["value"]))
    panels = [
        panel(80, "One session, all signers on one machine", ("signers", "ms"), [
            ("own", "measured", sessions),
            ("peer", "if it grew by n² from n = 20", quadratic(sessions)),
        ]),
        panel(540, "One session of 5, by inputs", ("inputs", "ms"), [
            ("own", "measured", points("inputs", "_ms", "value")),
            ("peer", "bare MuSig2 of one signer", points("inputs", "_ms", "reference")),
        ]),
        panel(1000, "One signer's MuSig2", ("signers", "µs"), [
            ("own", "libmusig", points("musig2_n", "_ratio", "value")),
            ("peer", "the bare calls", points("musig2_n", "_ratio", "reference")),
            ("other", "@scure/btc-signer", points("musig2_n", "_scure", "reference")),
        ]),
    ]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1390 360" font-family="sans-serif" role="img">\n'
            f"<title>How the times grow</title>\n<style>{STYLE}</style>\n"
            f'<rect class="ground" width="1390" height="360"/>\n{"".join(panels)}</svg>\n')


def quadratic(sessions: Points) -> Points:
    start = next(((n, time) for n, time in sessions if n == 20), None)
    return [(n, start[1] * (n / start[0]) ** 2) for n, _ in sessions if n >= 20] if start else []


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target" / "bench.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}{table(report)}{END}{after}", encoding="utf-8")
    CHART.write_text(chart(report), encoding="utf-8")
    print(f"bench-report: {len(report['rows'])} rows in docs/performance.md, charts in docs/performance.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
