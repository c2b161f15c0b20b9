#!/usr/bin/env python3
"""Load on the gateway of a real homeostat with its own nats-server, by Artillery (tests/load/, installed from its lock file). Every
scenario's `ensure` must hold; what was measured is printed, and kept as JSON.

usage: load.py path/to/homeostat [scenario...]
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import observe

HERE = pathlib.Path(__file__).resolve().parent.parent
LOAD = HERE / "tests/load"
ARTILLERY = LOAD / "node_modules/artillery/bin/run"
# Goal of the house for probes at 1000 requests a second, beside the thresholds that a run must keep.
GOAL_P95_MS = {"spike": 50}


def install():
    if not ARTILLERY.exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(LOAD)], check=True)


def ready(url):
    import urllib.request

    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
        return answer.status == 200


def run(scenario, url, home):
    """One scenario; whether it kept what it promises, and its summary."""
    report = home / f"{scenario}.json"
    environment = {**os.environ, "ARTILLERY_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    arguments = ["node", str(ARTILLERY), "run", "--quiet", "--target", url, "--output", str(report), str(LOAD / f"{scenario}.yaml")]
    result = subprocess.run(arguments, env=environment, cwd=LOAD, capture_output=True, text=True)
    if not report.exists():
        sys.exit(f"{scenario} did not run:\n{result.stdout}\n{result.stderr}")
    return result.returncode == 0, json.loads(report.read_text())["aggregate"], result.stdout


def tell(scenario, kept, summary):
    counters, times = summary["counters"], summary["summaries"]
    seconds = max((summary["lastMetricAt"] - summary["firstMetricAt"]) / 1000, 1)
    print(f"{scenario}: {'kept' if kept else 'NOT KEPT'}; {counters.get('http.requests', 0) / seconds:.0f} requests/s over {seconds:.0f} s")
    for name, value in sorted(counters.items()):
        if name.startswith(("http.codes", "slow.", "errors.", "vusers.failed")) and value:
            print(f"  {name} {value}")
    for name, value in sorted(times.items()):
        if name == "http.response_time" or name.startswith(("plugins.metrics-by-endpoint.response_time", "slow.")):
            short = name.removeprefix("plugins.metrics-by-endpoint.response_time.")
            print(f"  {short}: p50 {value['p50']}  p95 {value['p95']}  p99 {value['p99']}  max {value['max']} ms")
    goal, p95 = GOAL_P95_MS.get(scenario), times["http.response_time"]["p95"]
    if goal:
        print(f"  goal p95 < {goal} ms: {'met' if p95 < goal else 'missed'} ({p95} ms)")


def main():
    binary, scenarios = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or ["steady", "spike", "slow"]
    install()
    with tempfile.TemporaryDirectory(prefix="homeostat-load-") as home:
        home = pathlib.Path(home)
        programs = observe.Programs(home)
        port = observe.free_port()
        url = f"http://127.0.0.1:{port}"
        try:
            programs.start("homeostat", binary, "up", "--data-dir", home / "data", "--listen", f"127.0.0.1:{port}")
            programs.until("homeostat is ready", lambda: ready(url))
            failed = []
            for scenario in scenarios:
                kept, summary, said = run(scenario, url, home)
                tell(scenario, kept, summary)
                if not kept:
                    failed.append(scenario)
                    print(said[-1500:])
                programs.alive()
            if failed:
                sys.exit(f"not kept: {', '.join(failed)}")
        finally:
            programs.end()


if __name__ == "__main__":
    main()
