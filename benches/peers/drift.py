#!/usr/bin/env python3
"""`homeostat drift compare` beside scipy and evidently: the same answers, and the time each takes.

    benches/peers/drift.py [HOMEOSTAT]        (default: target/release/homeostat)

Makes its own virtual environment in target/peers/drift with the versions below; nothing is installed elsewhere. Samples are drawn
from numpy's generator with fixed seeds: normal, heavy-tailed, tied and constant ones, of equal and unequal sizes. Prints a line a
case, and exits with 1 when an answer differs from scipy's by more than the tolerances of the reference vectors (D 1e-12,
p 1e-6 relative, PSI 1e-9).
"""

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ["scipy==1.14.1", "numpy==2.1.3", "pandas==2.2.3", "evidently==0.7.23"]
ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "peers" / "drift"


def in_venv():
    python = VENV / "bin" / "python"
    marker = VENV / "installed"
    VENV.parent.mkdir(parents=True, exist_ok=True)
    if not marker.exists() or marker.read_text() != "\n".join(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        marker.write_text("\n".join(PACKAGES))
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [str(python), __file__, *sys.argv[1:]])


def samples(numpy):
    draw = numpy.random.default_rng(20261125)
    normal, heavy = draw.standard_normal, lambda n: draw.pareto(1.1, n)
    yield "normal 30 / 30", normal(30), normal(30)
    yield "normal 1,000 / 900, shifted", normal(1000), normal(900) + 0.3
    yield "normal 10,000 / 9,999", normal(10_000), normal(9_999)
    yield "normal 10,000 / 37", normal(10_000), normal(37)
    yield "normal 20,000 / 11", normal(20_000), normal(11)
    yield "normal 100,000 / 100,000", normal(100_000), normal(100_000)
    yield "normal 1,000,000 / 300,000, shifted", normal(1_000_000), normal(300_000) + 0.01
    yield "Pareto 5,000 / 4,000", heavy(5000), heavy(4000) * 1.05
    yield "whole numbers 3,000 / 2,000", draw.integers(0, 6, 3000).astype(float), draw.integers(0, 6, 2000).astype(float)
    yield "one value 500 / 400", numpy.full(500, 7.0), numpy.full(400, 7.0)
    yield "apart 200 / 100", normal(200), normal(100) + 50


def textbook_psi(numpy, a, b):
    edges = numpy.unique(numpy.quantile(a, [i / 10 for i in range(1, 10)]))
    count = lambda x: numpy.bincount(numpy.searchsorted(edges, x, side="left"), minlength=len(edges) + 1)
    p, q = count(a), count(b)
    p, q = (p + 0.5) / (p.sum() + 0.5 * len(p)), (q + 0.5) / (q.sum() + 0.5 * len(q))
    return float(((q - p) * numpy.log(q / p)).sum())


def main():
    in_venv()
    import json
    import tempfile
    import time
    import warnings

    import numpy
    import pandas
    from evidently import Dataset, Report
    from evidently.metrics import ValueDrift
    from scipy import stats

    warnings.filterwarnings("ignore")
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target" / "release" / "homeostat")
    wrong = 0
    print(f"{'case':<38}{'D':>10}{'p':>12}{'PSI':>10}   homeostat / scipy / evidently, seconds")
    with tempfile.TemporaryDirectory() as folder:
        for name, a, b in samples(numpy):
            paths = [Path(folder) / side for side in ("baseline", "current")]
            for path, values in zip(paths, (a, b)):
                path.write_text("\n".join(repr(float(x)) for x in values) + "\n")
            begin = time.perf_counter()
            out = subprocess.run([program, "drift", "compare", *map(str, paths), "--json"], check=True, capture_output=True, cwd=folder)
            ours_took = time.perf_counter() - begin
            ours = json.loads(out.stdout)
            # Reading the files is part of the work on either side.
            begin = time.perf_counter()
            a, b = (numpy.loadtxt(path) for path in paths)
            theirs = stats.ks_2samp(a, b, method="auto")
            psi = textbook_psi(numpy, a, b)
            scipy_took = time.perf_counter() - begin
            begin = time.perf_counter()
            frames = [Dataset.from_pandas(pandas.DataFrame({"x": values})) for values in (b, a)]
            Report([ValueDrift(column="x", method="ks"), ValueDrift(column="x", method="psi")]).run(*frames)
            evidently_took = time.perf_counter() - begin
            same = (
                abs(ours["ks"]["d"] - theirs.statistic) <= 1e-12
                and abs(ours["ks"]["p"] - theirs.pvalue) <= 1e-6 * theirs.pvalue
                and abs(ours["psi"]["value"] - psi) <= 1e-9
            )
            wrong += not same
            print(
                f"{name:<38}{theirs.statistic:>10.4f}{theirs.pvalue:>12.3g}{psi:>10.4f}   "
                f"{ours_took:.3f} / {scipy_took:.3f} / {evidently_took:.3f}   {'the same' if same else f'DIFFERENT: {ours}'}"
            )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
