#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Draws what tests/bench/peers.py measured: build/bench/peers.json -> docs/plots/*.svg. Plain SVG, written here.

    tests/bench/plot.py [RESULTS [DIRECTORY]]
"""

import json
import math
import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"postern": "#1a5fb4", "none": "#9a9996", "again": "#c0bfbc", "empty": "#deddda", "nft": "#e66100", "nftct": "#a51d2d",
           "nftset": "#26a269", "ipset": "#813d9c", "snoop": "#865e3c"}
WIDTH, LEFT, RIGHT, TOP = 860, 230, 90, 64
BAR, GAP, PART = 16, 4, 26


class Svg:
    """Shapes and words, from above; saved when its height is known."""

    def __init__(self, title, subtitle):
        self.shapes, self.bottom = [], 0
        self.text(16, 26, title, size=16, weight="bold")
        self.text(16, 45, subtitle, size=11, fill="#5e5c64")

    def text(self, x, y, words, *, size=12, anchor="start", fill="#241f31", weight="normal"):
        self.shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
                           f'font-weight="{weight}">{escape(words)}</text>')
        self.bottom = max(self.bottom, y)

    def rect(self, x, y, width, height, fill):
        self.shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{fill}"/>')
        self.bottom = max(self.bottom, y + height)

    def line(self, points, stroke, width=1.0, dashes=""):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.shapes.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"{dashed}/>')
        self.bottom = max(self.bottom, *(y for _, y in points))

    def save(self, path):
        height = self.bottom + 24
        path.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<!-- SPDX-License-Identifier: MIT; made by tests/bench/plot.py -->\n'
                        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
                        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">\n'
                        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(self.shapes) + "\n</svg>\n",
                        encoding="utf-8")


def parts_of(rows, chosen):
    parts = {}
    for row in rows:
        if chosen(row):
            parts.setdefault(row["part"], []).append(row)
    return parts


def ticks(low, high):
    return [10.0 ** e for e in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def told(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(svg, parts, value, words, scale, marks):
    """One bar a row; scale: value -> 0 to 1 of the width; marks: values with a line of their own."""
    y, room = TOP, WIDTH - LEFT - RIGHT
    for name, rows in parts.items():
        y += PART
        svg.text(16, y - 8, name, weight="bold")
        for row in rows:
            svg.text(LEFT - 8, y + BAR - 4, row["who"], size=11, anchor="end")
            width = scale(value(row)) * room
            svg.rect(LEFT, y, width, BAR, COLOURS.get(row["mode"].split("-")[0], "#c0bfbc"))
            svg.text(LEFT + width + 6, y + BAR - 4, words(row), size=11)
            y += BAR + GAP
    for mark in marks:
        x = LEFT + scale(mark) * room
        svg.line([(x, TOP + 4), (x, y)], "#5e5c64", 0.7, "3,3")
        svg.text(x, y + 14, told(mark), size=10, anchor="middle", fill="#5e5c64")


def calls(rows):
    svg = Svg("Calls and packets", "times over no enforcement, 1,000 prefixes; shorter is better")
    parts = parts_of(rows, lambda r: "over no enforcement" in r["part"] and r["mode"] != "none")
    parts = {name.split(", 1,000")[0]: part for name, part in parts.items()}
    most = max(r["ratio"] for part in parts.values() for r in part)
    bars(svg, parts, lambda r: r["ratio"], lambda r: f"{r['ratio']:.2f} x", lambda v: v / most, [1.0])
    return svg


def changes(rows):
    """Entries along, milliseconds up, both in powers of ten."""
    svg = Svg("A whole policy replaced", "milliseconds until it is enforced, by entries; lower is better")
    lines = {}
    for row in rows:
        if "replaced, over Postern" in row["part"]:
            size, kind = int(row["part"].split()[4].replace(",", "")), "names" if " names " in row["part"] else "prefixes"
            lines.setdefault((row["mode"], row["who"], kind), []).append((size, row["figure"]))
    values = [v for line in lines.values() for _, v in line]
    sizes = [s for line in lines.values() for s, _ in line]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    left, right, top, bottom = 70, WIDTH - 250, TOP + 16, TOP + 316

    def at(size, value):
        along = math.log(size / min(sizes)) / math.log(max(sizes) / min(sizes))
        up = math.log(value / low) / math.log(high / low)
        return left + along * (right - left), bottom - up * (bottom - top)
    for tick in ticks(low, high):
        y = at(min(sizes), tick)[1]
        svg.line([(left, y), (right, y)], "#deddda")
        svg.text(left - 6, y + 4, f"{told(tick)} ms", size=10, anchor="end", fill="#5e5c64")
    for size in sorted(set(sizes)):
        svg.text(at(size, low)[0], bottom + 18, f"{size:,}", size=10, anchor="middle", fill="#5e5c64")
    taken = []
    for (mode, who, kind), line in sorted(lines.items(), key=lambda item: -item[1][-1][1]):
        points = [at(*point) for point in sorted(line)]
        svg.line(points, COLOURS.get(mode, "#000000"), 2.5, "6,4" if kind == "names" else "")
        y = max([points[-1][1] + 4] + [t + 15 for t in taken[-1:]])
        taken.append(y)
        svg.text(right + 8, y, f"{who}: {kind}", size=11, fill=COLOURS.get(mode, "#000000"))
    return svg


def firsts(rows):
    svg = Svg("First connections that failed", "of those made as soon as the name was resolved, every CPU busy; 0 is what one wants")
    parts = parts_of(rows, lambda r: r["part"].startswith("first connections") and r["mode"] != "unfed")
    bars(svg, parts, lambda r: r["ratio"], lambda r: f"{r['figure']:,.0f} {r['unit']}", lambda v: v, [0.0, 1.0])
    return svg


def denials(rows):
    svg = Svg("Until a denied program is told", "microseconds, in powers of ten; shorter is better")
    parts = parts_of(rows, lambda r: r["part"].startswith("a denied"))
    parts = {name.split(":")[0]: part for name, part in parts.items()}
    high = 10 ** math.ceil(math.log10(max(r["figure"] for part in parts.values() for r in part)))
    bars(svg, parts, lambda r: r["figure"], lambda r: f"{told(r['figure'])} us {r['note']}",
         lambda v: math.log10(max(v, 1)) / math.log10(high) * 0.82, ticks(1, high))
    return svg


def lives(rows):
    svg = Svg("Live connections that a tighter policy ended", "how many programs were told within three seconds; longer is better")
    parts = parts_of(rows, lambda r: r["part"].startswith("live connections"))
    bars(svg, parts, lambda r: r["ratio"], lambda r: r["note"], lambda v: v * 0.8, [0.0, 1.0])
    return svg


def main(results, directory):
    rows = json.loads(results.read_text("utf-8"))["rows"]
    directory.mkdir(parents=True, exist_ok=True)
    for draw in (calls, changes, firsts, denials, lives):
        draw(rows).save(directory / f"peers-{draw.__name__}.svg")


if __name__ == "__main__":
    build = Path(os.environ.get("B", ROOT / "build"))
    main(Path(sys.argv[1]) if sys.argv[1:] else build / "bench" / "peers.json",
         Path(sys.argv[2]) if sys.argv[2:] else ROOT / "docs" / "plots")
