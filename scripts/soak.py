#!/usr/bin/env python3
"""Endurance: a real homeostat with its own nats-server under a steady load (`homeostat bench`), its memory and disk watched. Memory is flat
when the line through what was measured after the warm-up (Theil and Sen: the median of the slopes between every two points) rises by less
than 5 % of the median in an hour. Exit 1 when it rises faster.

usage: soak.py path/to/homeostat [--minutes N] [--rate EVENTS/S] [--warm-up MINUTES] [--alert-every DURATION] [--bench path/to/homeostat] [--set KEY=VALUE]…
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import observe

EVERY_S = 10
FLAT = 0.05


def memory(pid):
    """Resident memory of a process, and that part of it which no file stands behind, MiB."""
    wanted = {"VmRSS:": 0, "RssAnon:": 0}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, *rest = line.split()
        if name in wanted:
            wanted[name] = int(rest[0]) / 1024
    return wanted["VmRSS:"], wanted["RssAnon:"]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def child_of(pid):
    """The nats-server that homeostat started."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            return int(child)
    return None


def disk(home):
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / 2**20


def slope(points):
    """Theil and Sen, of (hours, value)."""
    slopes = [(y - b) / (x - a) for i, (a, b) in enumerate(points) for x, y in points[i + 1 :] if x > a]
    return statistics.median(slopes) if slopes else 0.0


def checkpoints(url):
    """Size of each actor's last checkpoint, bytes."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    sizes = {}
    for line in text.splitlines():
        if line.startswith("homeostat_actor_checkpoint_size_bytes{"):
            name, value = line.split('actor="')[1].split('"} ')
            sizes[name] = int(float(value))
    return sizes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--warm-up", type=float, default=5)
    parser.add_argument("--services", type=int, default=20)
    parser.add_argument("--shapes", type=int, default=50)
    parser.add_argument("--kinds", default="query,request,calls,heartbeat,resource,pool,cache")
    parser.add_argument("--traced", type=float, default=0.0, help="share of messages of a recorded trace; OTEL_EXPORTER_OTLP_ENDPOINT says where spans go")
    parser.add_argument("--alert-every", default="10m", help="a slow query never seen before: each is a statement and an incident more that is known")
    parser.add_argument("--bench", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    bench_binary = (arguments.bench or binary).resolve()
    with tempfile.TemporaryDirectory(prefix="homeostat-soak-") as home:
        home = pathlib.Path(home)
        data = home / "data"
        programs = observe.Programs(home)
        port = observe.free_port()
        url = f"http://127.0.0.1:{port}"
        settings = [word for setting in arguments.set for word in ("--set", setting)]
        try:
            system = programs.start("homeostat", binary, "up", "--data-dir", data, "--listen", f"127.0.0.1:{port}", *settings)
            programs.until("homeostat is ready", lambda: observe.get(f"{url}/readyz?verbose") is not None)
            server = child_of(system.pid)
            load = [bench_binary, "bench", "--data-dir", data, "--json", "--rate", arguments.rate, "--duration", f"{int(arguments.minutes * 60)}s"]
            load += ["--services", arguments.services, "--shapes", arguments.shapes, "--kinds", arguments.kinds, "--alert-every", arguments.alert_every, "--traced", arguments.traced]
            with open(home / "bench.json", "w") as out, open(home / "bench.log", "w") as log:
                bench = subprocess.Popen([str(word) for word in load], stdout=out, stderr=log)
            began, points, first_disk = time.monotonic(), [], disk(data)
            print("minute  homeostat MiB (anonymous)  nats-server MiB  disk MiB", flush=True)
            while bench.poll() is None:
                time.sleep(EVERY_S)
                if system.poll() is not None:
                    sys.exit("homeostat ended:\n" + (home / "homeostat.log").read_text()[-2000:])
                hours = (time.monotonic() - began) / 3600
                resident, anonymous = memory(system.pid)
                points.append((hours, resident, anonymous, memory(server)[0] if server else 0.0))
                if len(points) % 6 == 0:
                    print(f"{hours * 60:6.1f}  {resident:8.1f} ({anonymous:.1f})  {points[-1][3]:8.1f}  {disk(data):8.1f}", flush=True)
            report = json.loads((home / "bench.json").read_text() or "{}")
            if bench.returncode != 0:
                print((home / "bench.log").read_text()[-1000:])
            hours, grown = points[-1][0], disk(data) - first_disk
            settled = [point for point in points if point[0] * 60 >= arguments.warm_up]
            flat = True
            print(f"\nran {hours * 60:.1f} min at {report.get('events_per_s', 0):.0f} events/s ({arguments.rate} wanted); after {arguments.warm_up:g} min:")
            for name, column in (("homeostat", 1), ("homeostat, anonymous", 2), ("nats-server", 3)):
                values = [(point[0], point[column]) for point in settled]
                median = statistics.median(value for _, value in values)
                rise = slope(values)
                ours = column < 3
                flat &= not ours or rise < FLAT * median
                print(f"  {name}: median {median:.1f} MiB, max {max(value for _, value in values):.1f}, {rise:+.2f} MiB/h ({rise / median:+.1%} an hour)")
            print(f"  disk: {grown:.0f} MiB, {grown / hours * 24 / 1024:.1f} GiB a day at this rate, {grown * 2**20 / max(report.get('events', 1), 1):.0f} bytes an event")
            print(f"  processor: homeostat {cpu_seconds(system.pid) / max(report.get('events', 1), 1) * 1e6:.2f} µs an event", end="")
            print(f", nats-server {cpu_seconds(server) / max(report.get('events', 1), 1) * 1e6:.2f} µs" if server else "")
            print(f"  checkpoints: {checkpoints(url)}")
            print(f"  bench: {json.dumps(report)}")
            print("flat" if flat else "NOT FLAT")
            sys.exit(0 if flat and bench.returncode == 0 else 1)
        finally:
            programs.end()


if __name__ == "__main__":
    main()
