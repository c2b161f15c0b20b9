#!/usr/bin/env python3
"""The demonstration: starts `homeostat up`, sends recorded OpenTelemetry traffic of real shops through the gateway, and shows
the alerts as they appear on the bus. Needs nothing but Python's own library.

usage: demo.py path/to/homeostat [--keep]
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from gateway import post

HERE = pathlib.Path(__file__).resolve().parent.parent
RUNS = HERE / "tests" / "data" / "otlp"
WANTED = ["query.slow", "query.n_plus_one", "health.error_rate", "health.silent"]


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    keep = "--keep" in sys.argv or sys.stdin.isatty()
    with tempfile.TemporaryDirectory(prefix="homeostat-demo-") as data:
        print("starting homeostat up ...", flush=True)
        began = time.monotonic()
        log = open(pathlib.Path(data) / "up.log", "w")
        up = subprocess.Popen(
            [binary, "up", "--data-dir", data, "--listen", "127.0.0.1:0"]
            # The recorded databases ran beside their shops: by default an N+1 must cost 50 ms to be worth an alert.
            + ["--set", "actors.query.n_plus_one.min_total_ms=0"],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            here = wait_until_ready(up, data, log.name)
            print(f"ready after {time.monotonic() - began:.1f} s: gateway {here['gateway']}, bus {here['nats']}\n", flush=True)
            demonstrate(binary, data, here)
            print("\nTry next (in a second terminal):")
            print(f"  {binary} tail all --data-dir {data}")
            print(f"  {binary} replay --stream --verify --data-dir {data}   # the same alerts again, byte for byte")
            print(f"  curl {here['gateway']}/api/v1/queries")
            print(f"  export OTEL_EXPORTER_OTLP_ENDPOINT={here['gateway']}        # your own service")
            if keep:
                print("\nThe system goes on. Ctrl-C ends it and removes its data.", flush=True)
                up.wait()
        except KeyboardInterrupt:
            pass
        finally:
            up.terminate()
            try:
                up.wait(timeout=30)
            except subprocess.TimeoutExpired:
                up.kill()
        print("stopped" if up.returncode == 0 else f"ended with {up.returncode}")


def wait_until_ready(up, data, log):
    for _ in range(600):
        if up.poll() is not None:
            sys.exit(pathlib.Path(log).read_text() + "\nhomeostat up ended early")
        try:
            here = json.loads((pathlib.Path(data) / "up.json").read_text())
            with urllib.request.urlopen(here["gateway"] + "/readyz", timeout=2):
                return here
        except (OSError, ValueError):
            time.sleep(0.05)
    sys.exit("homeostat up did not become ready within 30 s")


def demonstrate(binary, data, here):
    seen = {}
    done = threading.Event()
    tail = subprocess.Popen([binary, "tail", "alerts", "--json", "--data-dir", data], stdout=subprocess.PIPE, text=True)

    def show():
        for line in tail.stdout:
            alert = json.loads(line)
            alert = alert.get("data", alert)
            if alert.get("state") != "firing":
                continue
            seen[alert["rule"]] = seen.get(alert["rule"], 0) + 1
            print(f"  {time.monotonic() - began:5.2f} s  {alert['severity']:8} {alert['rule']:24} {alert['service']:16} {alert['summary'][:110]}", flush=True)
            if all(rule in seen for rule in WANTED):
                done.set()

    began = time.monotonic()
    time.sleep(0.5)
    threading.Thread(target=show, daemon=True).start()
    print("sending recorded OpenTelemetry traffic of five shops, a burst of errors, and one heartbeat that will not come again:\n", flush=True)
    for run in sorted(RUNS.iterdir()):
        for body in sorted(list(run.glob("*.pb")) + list(run.glob("*.json"))):
            if body.name == "truth.json":
                continue
            kind = "application/json" if body.suffix == ".json" else "application/x-protobuf"
            post(here["gateway"] + "/v1/traces", body.read_bytes(), kind)
    now = int(time.time() * 1000)
    events = [{"kind": "heartbeat", "service": "demo-worker", "at_ms": now, "up_s": 60, "interval_s": 1}]
    for n in range(40):
        events.append({"kind": "request", "service": "demo-api", "at_ms": now, "route": "GET /pay", "status": 500 if n % 3 == 0 else 200, "took_us": 9000})
    post(here["gateway"] + "/v1/events", events)
    complete = done.wait(timeout=20)
    time.sleep(1.0)
    tail.terminate()
    print(f"\n{sum(seen.values())} alerts: " + ", ".join(f"{count} {rule}" for rule, count in sorted(seen.items())))
    if not complete:
        sys.exit("not every kind of alert appeared: missing " + ", ".join(rule for rule in WANTED if rule not in seen))


if __name__ == "__main__":
    main()
