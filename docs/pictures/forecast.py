#!/usr/bin/env python3
"""Draws what `homeostat anomalies` and `homeostat forecast` see in a series: docs/pictures/forecast.svg.

    docs/pictures/forecast.py [HOMEOSTAT [SERIES.csv [OUT.svg]]]

Defaults: target/debug/homeostat, the NAB series in tests/data/nab/, docs/pictures/forecast.svg. Standard library only.
"""

import json
import math
import pathlib
import subprocess
import sys
from datetime import datetime

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 340, 56, 34, 40
P_HEIGHT = 56
HORIZON = 288


def main():
    given = dict(enumerate(sys.argv[1:]))
    program = given.get(0, ROOT / "target/debug/homeostat")
    series = pathlib.Path(given.get(1, ROOT / "tests/data/nab/ec2_request_latency_system_failure.csv"))
    out = pathlib.Path(given.get(2, ROOT / "docs/pictures/forecast.svg"))
    ask = lambda *args: json.loads(subprocess.run([str(program), *args, "--json"], check=True, capture_output=True, text=True).stdout)
    seen = ask("anomalies", str(series))
    coming = ask("forecast", str(series), "--horizon", str(HORIZON))
    when = lambda text: datetime.fromisoformat(text).timestamp()
    points = [(when(p["at"]), p["value"], p["p"]) for p in seen["points"] if p["value"] is not None]
    ahead = [(when(p["at"]), p["mean"], p["lower"], p["upper"]) for p in coming["points"]]
    first, last = points[0][0], ahead[-1][0]
    low = min(min(v for _, v, _ in points), min(a[2] for a in ahead))
    high = max(max(v for _, v, _ in points), max(a[3] for a in ahead))
    x = lambda t: LEFT + (WIDTH - LEFT - 10) * (t - first) / (last - first)
    y = lambda v: TOP + (HEIGHT - TOP - BOTTOM - P_HEIGHT - 16) * (high - v) / (high - low)
    floor = HEIGHT - BOTTOM
    py = lambda p: floor - P_HEIGHT * min(-math.log10(p), 15) / 15
    line = lambda pairs: " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{series.stem}: alarms (red), the day ahead (blue) with its 95 % interval, and p-values (below)</text>',
    ]
    for alarm in seen["alarms"]:
        a, b = x(when(alarm["start"])), x(when(alarm["end"]))
        parts.append(f'<rect x="{a - 1:.1f}" y="{TOP}" width="{b - a + 2:.1f}" height="{floor - TOP}" fill="#d33" opacity="0.25"/>')
        parts.append(f'<text x="{a:.1f}" y="{TOP - 3}" fill="#b22" text-anchor="middle">{alarm["start"][5:16]}</text>')
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>')
    band = [(x(t), y(u)) for t, _, _, u in ahead] + [(x(t), y(l)) for t, _, l, _ in reversed(ahead)]
    parts.append(f'<polygon points="{line(band)}" fill="#48c" opacity="0.25"/>')
    parts.append(f'<polyline points="{line((x(t), y(v)) for t, v, _ in points)}" fill="none" stroke="#333" stroke-width="0.8"/>')
    parts.append(f'<polyline points="{line((x(t), y(m)) for t, m, _, _ in ahead)}" fill="none" stroke="#148" stroke-width="1.2"/>')
    for t, _, p in points:
        if p is not None and p < 0.05:
            parts.append(f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{floor}" y2="{py(p):.1f}" stroke="#a55" stroke-width="0.8"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{py(1e-15) + 8:.1f}" text-anchor="end" fill="#555">1e-15</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end" fill="#555">p = 1</text>')
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{floor}" y2="{floor}" stroke="#999"/>')
    days = range(math.ceil(first / 86400), math.floor(last / 86400) + 1, 2)
    for day in days:
        parts.append(f'<text x="{x(day * 86400):.1f}" y="{floor + 14}" text-anchor="middle" fill="#555">{datetime.fromtimestamp(day * 86400):%d %b}</text>')
    parts.append("</svg>")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"{out}: {len(points)} values, {len(seen['alarms'])} alarms, {coming['model']}")


if __name__ == "__main__":
    main()
