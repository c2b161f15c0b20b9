#!/usr/bin/env python3
"""What statsforecast does with the series that `cargo run --example forecast` is measured on.

    benches/peers/forecast.py DATA hourly|daily [MODEL ...]

DATA is the folder with m4_hourly/. Makes a virtual environment of its own (in $PEERS_VENV, else beside this script's
repository in target/peers/forecast) with pinned versions, and prints one line a model: sMAPE, MASE, coverage of its 95 %
interval, MSIS, and processor time a series. One process, one thread.
"""

import os
import pathlib
import subprocess
import sys

PINS = ["statsforecast==2.1.1", "numpy==2.4.6", "pandas==2.3.3", "scipy==1.17.1"]
HERE = pathlib.Path(__file__).resolve()


def inside_own_environment():
    home = pathlib.Path(os.environ.get("PEERS_VENV") or HERE.parents[2] / "target" / "peers" / "forecast")
    python = home / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == home.resolve():
        return
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    have = subprocess.run([str(python), "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout.split()
    if not set(PINS) <= set(have):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINS], check=True)
    os.environ.setdefault("NIXTLA_NUMBA_CACHE", "1")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.execv(str(python), [str(python), str(HERE), *sys.argv[1:]])


def read(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield line.strip().replace('"', "").split(",")


def hourly(data):
    train = {row[0]: [float(v) for v in row[1:] if v] for row in read(data / "train.csv")}
    test = {row[0]: [float(v) for v in row[1:] if v] for row in read(data / "test.csv")}
    return [(train[name], test[name]) for name in train], 48, [24, 168], 24


def daily(data):
    parts = {"train": {}, "test": {}}
    for name, split, *values in read(data / "daily_means.csv"):
        if split in parts:
            parts[split][name] = [float(v) for v in values if v]
    return [(parts["train"][name], parts["test"][name]) for name in parts["train"]], 7, [7], 7


def main():
    if len(sys.argv) < 3 or sys.argv[2] not in ("hourly", "daily"):
        sys.exit(__doc__)
    inside_own_environment()

    import time
    import warnings

    import numpy as np
    from statsforecast.models import MSTL, AutoARIMA, AutoCES, AutoETS, AutoTheta, SeasonalNaive

    warnings.filterwarnings("ignore")
    series, horizon, periods, season = {"hourly": hourly, "daily": daily}[sys.argv[2]](pathlib.Path(sys.argv[1]) / "m4_hourly")
    makers = {
        "SeasonalNaive": lambda: SeasonalNaive(season_length=season),
        "MSTL": lambda: MSTL(season_length=periods),
        "AutoTheta": lambda: AutoTheta(season_length=season),
        "AutoCES": lambda: AutoCES(season_length=season),
        "AutoETS": lambda: AutoETS(season_length=season),
        "AutoARIMA": lambda: AutoARIMA(season_length=season),
    }
    # AutoARIMA needs three quarters of a minute a series of hours: only when it is named.
    chosen = sys.argv[3:] or [name for name in makers if name != "AutoARIMA" or season == 7]
    paths = {}

    def report(label, points, lowers, uppers, seconds):
        smape, mase, covered, msis = [], [], [], []
        for (train, test), f, low, high in zip(series, points, lowers, uppers):
            y, t = np.array(test), np.array(train)
            scale = np.mean(np.abs(t[season:] - t[:-season]))
            smape.append(np.mean(200 * np.abs(y - f) / np.maximum(np.abs(y) + np.abs(f), 1e-12)))
            mase.append(np.mean(np.abs(y - f)) / scale)
            if low is not None:
                covered.append(np.mean((y >= low) & (y <= high)))
                width = (high - low) + 40 * np.maximum(low - y, 0) + 40 * np.maximum(y - high, 0)
                msis.append(np.mean(width) / scale)
        tail = f"coverage {100 * np.mean(covered):6.2f} %  MSIS {np.mean(msis):8.2f}" if covered else " " * 33
        print(f"{label:<16} sMAPE {np.mean(smape):7.3f}  MASE {np.mean(mase):7.4f}  {tail}  {1000 * seconds / len(series):9.2f} ms/series", flush=True)

    for name in chosen:
        make = makers[name]
        warm = np.array(series[0][0])
        make().forecast(y=warm, h=horizon, level=[95])  # compiled before the clock starts
        points, lowers, uppers, failed = [], [], [], 0
        began = time.process_time()
        for train, _ in series:
            y = np.array(train)
            try:
                got = make().forecast(y=y, h=horizon, level=[95])
                if not np.all(np.isfinite(got["mean"])):
                    raise ValueError("not finite")
            except Exception:
                # As statsforecast's own fallback_model does.
                failed += 1
                got = SeasonalNaive(season_length=season).forecast(y=y, h=horizon, level=[95])
            points.append(got["mean"])
            lowers.append(got.get("lo-95"))
            uppers.append(got.get("hi-95"))
        seconds = time.process_time() - began
        paths[name] = points
        report(name, points, lowers, uppers, seconds)
        if failed:
            print(f"{'':<16} {failed} series fell back to the seasonal naive forecast", flush=True)
    if len(paths) > 1:
        none = [None] * len(series)
        report("mean of these", [np.mean([paths[n][i] for n in paths], axis=0) for i in range(len(series))], none, none, 0)
        report("median of these", [np.median([paths[n][i] for n in paths], axis=0) for i in range(len(series))], none, none, 0)


if __name__ == "__main__":
    main()
