#!/usr/bin/env python3
"""Draws docs/pictures/drift.svg: what `homeostat drift compare` sees in the car loan data of the tests, chunk by chunk.

    docs/pictures/drift.py [HOMEOSTAT]        (default: target/debug/homeostat)

Python's standard library and the program; no other packages.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "actors" / "tests" / "data" / "drift"
CHUNK = 125
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 60, 30, 190, 50
CEILING = 1.0
COLOURS = {"debt_to_income_ratio": "#0072b2", "salary_range": "#d55e00", "car_value": "#009e73", "loan_length": "#999999", "y_pred_proba": "#cc79a7"}


def read(name):
    with open(DATA / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(COLOURS), extrasaction="ignore")
        out.writeheader()
        out.writerows(rows)


def seen(program):
    """For every feature and chunk: PSI, and whether the verdict is drift."""
    found = {name: [] for name in COLOURS}
    analysis = read("car_loan_analysis.csv")
    with tempfile.TemporaryDirectory() as folder:
        baseline, current = pathlib.Path(folder) / "baseline.csv", pathlib.Path(folder) / "current.csv"
        write(baseline, read("car_loan_reference.csv"))
        for begin in range(0, len(analysis), CHUNK):
            write(current, analysis[begin : begin + CHUNK])
            command = [program, "drift", "compare", str(baseline), str(current), "--json"]
            out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout
            for row in map(json.loads, out.splitlines()):
                found[row["feature"]].append((row["psi"]["value"], row["verdict"] not in ("none", "insufficient")))
    return found


def draw(found):
    chunks = len(next(iter(found.values())))
    x = lambda i: LEFT + (i + 0.5) * (WIDTH - LEFT - RIGHT) / chunks
    y = lambda psi: TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(psi, CEILING) / CEILING)
    text = lambda at_x, at_y, words, more="": f'<text x="{at_x:.1f}" y="{at_y:.1f}" {more}>{words}</text>'
    right = WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<rect x="{(LEFT + right) / 2:.1f}" y="{TOP}" width="{(right - LEFT) / 2:.1f}" height="{HEIGHT - TOP - BOTTOM}" fill="#f4efe6"/>',
        text(LEFT, 18, f"PSI of {chunks} chunks of {CHUNK} car loans against 2,500 before", 'font-weight="bold"'),
        text((LEFT + right) / 2 + 6, TOP + 16, "the second half is drifted", 'fill="#866"'),
    ]
    noise = 9 * (1 / 2500 + 1 / CHUNK)
    for psi, words in ((0.0, "0"), (0.1, "0.1 moderate"), (0.25, "0.25 significant"), (CEILING, "1 or more")):
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y(psi):.1f}" y2="{y(psi):.1f}" stroke="#ccc"/>')
        parts.append(text(right + 6, y(psi) + 4, words))
    parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y(noise):.1f}" y2="{y(noise):.1f}" stroke="#c33" stroke-dasharray="4 3"/>')
    parts.append(text(right + 6, y(noise) + 8, "chance alone, ten bins", 'fill="#c33"'))
    for order, (name, points) in enumerate(found.items()):
        colour = COLOURS[name]
        path = " ".join(f"{x(i):.1f},{y(psi):.1f}" for i, (psi, _) in enumerate(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for i, (psi, drift) in enumerate(points):
            inside = colour if drift else "#fff"
            parts.append(f'<circle cx="{x(i):.1f}" cy="{y(psi):.1f}" r="3.5" stroke="{colour}" fill="{inside}"/>')
        parts.append(text(right + 20, TOP + 30 + 18 * order, name, f'fill="{colour}"'))
        parts.append(f'<circle cx="{right + 10}" cy="{TOP + 26 + 18 * order}" r="3.5" fill="{colour}"/>')
    parts.append(text(LEFT, HEIGHT - 28, "filled: the guarded rule calls it drift; open: it does not"))
    parts.append(text(LEFT, HEIGHT - 12, "NannyML car loan data, every 20th row (Apache-2.0); made by docs/pictures/drift.py", 'fill="#999" font-size="10"'))
    return "\n".join([*parts, "</svg>", ""])


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target" / "debug" / "homeostat")
    target = ROOT / "docs" / "pictures" / "drift.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(draw(seen(program)), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
