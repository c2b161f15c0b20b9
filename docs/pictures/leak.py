#!/usr/bin/env python3
"""Draws docs/pictures/leak.svg: what `homeostat leak` says of two recorded processes.

    docs/pictures/leak.py [--homeostat PATH]

The recordings are docs/pictures/leak/*.csv; docs/pictures/leak/process.js made them.
"""

import argparse
import csv
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT, LEFT, TOP, GAP = 860, 190, 60, 34, 52
INK, FAINT, FLOOR, SUSPECT, CONFIRM, SOUND = "#24292f", "#8c959f", "#0969da", "#bf8700", "#cf222e", "#1a7f37"


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(int(row["at_ms"]), float(row["memory_bytes"])) for row in csv.DictReader(file)]
    start = rows[0][0]
    return start, [((at - start) / 3.6e6, memory / 1e6) for at, memory in rows]


def panel(title, start, series, answer, top, hours):
    """One process: memory, its floors, and when something was said."""
    most = max(memory for _, memory in series) * 1.2
    step = next(step for step in (10, 20, 50, 100, 200, 500, 1000) if most / step <= 8)

    def x(hour):
        return LEFT + hour / hours * (WIDTH - LEFT - 20)

    def y(memory):
        return top + HEIGHT - memory / most * HEIGHT

    parts = [f'<text x="{LEFT}" y="{top - 12}" class="title">{title}</text>']
    for level in range(0, int(most) + 1, step):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(level):.1f}" y2="{y(level):.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" class="axis" text-anchor="end">{level}</text>')
    for hour in range(0, int(hours) + 1, 3):
        parts.append(f'<text x="{x(hour):.1f}" y="{top + HEIGHT + 16}" class="axis" text-anchor="middle">{hour} h</text>')
    line = " ".join(f"{x(hour):.1f},{y(memory):.1f}" for hour, memory in series)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{FAINT}" stroke-width="0.8"/>')
    floors = {}
    for hour, memory in series:
        quarter = int(hour * 4)
        floors[quarter] = min(floors.get(quarter, memory), memory)
    for quarter, memory in floors.items():
        colour = FAINT if quarter < 3 else FLOOR
        parts.append(f'<line x1="{x(quarter / 4):.1f}" x2="{x(quarter / 4 + 0.25):.1f}" y1="{y(memory):.1f}" y2="{y(memory):.1f}" '
                     f'stroke="{colour}" stroke-width="2"/>')
    said = (("suspected", SUSPECT, answer["first_suspected_at"], 12), ("confirmed", CONFIRM, answer["first_confirmed_at"], 28))
    for word, colour, at, down in said:
        if at is not None:
            hour = (at - start) / 3.6e6
            parts.append(f'<line x1="{x(hour):.1f}" x2="{x(hour):.1f}" y1="{top}" y2="{top + HEIGHT}" stroke="{colour}" stroke-dasharray="4 3"/>')
            parts.append(f'<text x="{x(hour) + 5:.1f}" y="{top + down}" style="fill:{colour}">{word} after {hour:.1f} h</text>')
    verdict = {"none": "no leak", "suspected": "suspected", "confirmed": "leak confirmed"}[answer["verdict"]]
    colour = {"none": SOUND, "suspected": SUSPECT, "confirmed": CONFIRM}[answer["verdict"]]
    low, high = answer["slope_pct_per_h_interval"]
    said = f'{verdict}: {answer["slope_pct_per_h"]:+.1f} % an hour ({low:+.1f} to {high:+.1f})'
    parts.append(f'<text x="{WIDTH - 20}" y="{top - 12}" style="fill:{colour}" text-anchor="end">{said}</text>')
    return parts


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--homeostat", default=str(HERE.parents[1] / "target/debug/homeostat"))
    homeostat = arguments.parse_args().homeostat
    panels = [("A process that keeps a listener for every event, MB", "leak.csv"), ("The same process without the leak, MB", "sound.csv")]
    parts = []
    series = [read(HERE / "leak" / name) for _, name in panels]
    hours = max(points[-1][0] for _, points in series)
    for index, ((title, name), (start, points)) in enumerate(zip(panels, series)):
        said = subprocess.run([homeostat, "leak", HERE / "leak" / name, "--json"], check=True, capture_output=True, text=True).stdout
        parts += panel(title, start, points, json.loads(said), TOP + index * (HEIGHT + GAP + 12), hours)
    height = TOP + len(panels) * (HEIGHT + GAP + 12) - 20
    style = (f"text{{font:12px system-ui,sans-serif;fill:{INK}}} .title{{font-weight:600}} .axis{{fill:{FAINT};font-size:11px}} "
             ".grid{stroke:#d8dee4;stroke-width:0.6}")
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Memory of a process that leaks '
           f'and of one that does not, with floors and verdicts">', f"<style>{style}</style>", f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    (HERE / "leak.svg").write_text("\n".join(svg + parts + ["</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
