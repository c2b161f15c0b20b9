#!/usr/bin/env python3
"""Homeostat with its observers, without containers: Prometheus, Alertmanager and node exporter from Debian on loopback, the rules of
docker/prometheus/rules, recorded traffic of real shops, and a webhook that receives what Alertmanager says. Then every panel of every
dashboard asks Prometheus its question. Needs nothing but Python's own library.

usage: observe.py path/to/homeostat [--check]

--check ends when all was seen (exit 0) or when something was not (exit 1); without it the system goes on until Ctrl-C.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import demo

HERE = pathlib.Path(__file__).resolve().parent.parent
WANTED = "QuerySlow"
DEADLINE = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Programs:
    """Everything that was started, ended in reverse order."""

    def __init__(self, home):
        self.home = home
        self.running = []

    def start(self, name, *arguments):
        log = open(self.home / f"{name}.log", "w")
        child = subprocess.Popen([str(a) for a in arguments], stdout=log, stderr=log, cwd=self.home)
        self.running.append((name, child))
        return child

    def alive(self):
        for name, child in self.running:
            if child.poll() is not None:
                sys.exit(f"{name} ended with {child.returncode}:\n" + (self.home / f"{name}.log").read_text()[-2000:])

    def end(self):
        for _, child in reversed(self.running):
            child.terminate()
        for _, child in reversed(self.running):
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()

    def until(self, what, true):
        """Waits for a state, watching that everything still runs."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.alive()
            try:
                found = true()
            except (OSError, ValueError):
                found = None
            if found:
                return found
            time.sleep(0.1)
        sys.exit(f"not within {DEADLINE} s: {what}")


class Receiver(http.server.BaseHTTPRequestHandler):
    """The webhook: what a pager would be told."""

    received = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in body["alerts"]:
            self.received.append(alert)
            print(f"  webhook: {alert['status']:8} {alert['labels']['alertname']:24} {alert['annotations'].get('summary', '')[:100]}", flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Shop(threading.Thread):
    """What an instrumented shop says of itself, by node exporter's textfile collector: a tenth of its requests fail and are slow."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.turn = 0

    def write(self):
        n = self.turn = self.turn + 1
        service = 'service_name="shop"'
        lines = []

        def histogram(name, labels, buckets):
            lines.append(f"# TYPE {name} histogram")
            lines.extend(f'{name}_bucket{{{labels},le="{le}"}} {count * n}' for le, count in buckets)
            lines.extend([f'{name}_bucket{{{labels},le="+Inf"}} {10 * n}', f"{name}_count{{{labels}}} {10 * n}", f"{name}_sum{{{labels}}} {3 * n}"])

        histogram("http_server_request_duration_seconds", service + ',http_response_status_code="200"', [("0.1", 8), ("0.5", 9), ("1", 10)])
        lines.append(f'http_server_request_duration_seconds_count{{{service},http_response_status_code="500"}} {n}')
        histogram("db_client_operation_duration_seconds", service + ',db_system_name="postgresql"', [("0.05", 8), ("0.25", 9), ("0.5", 10)])
        pool = service + ',db_client_connection_pool_name="main"'
        lines += ["# TYPE db_client_connection_count gauge", f'db_client_connection_count{{{pool},db_client_connection_state="used"}} 9',
                  f'db_client_connection_count{{{pool},db_client_connection_state="idle"}} 1', "# TYPE db_client_connection_max gauge",
                  f"db_client_connection_max{{{pool}}} 10", "# TYPE app_cache_requests_total counter",
                  f'app_cache_requests_total{{{service},cache="products",result="hit"}} {4 * n}',
                  f'app_cache_requests_total{{{service},cache="products",result="miss"}} {6 * n}']
        # Duplicate type lines are refused, so the count of failures stands with its histogram.
        temporary = self.folder / "shop.tmp"
        temporary.write_text("\n".join(lines) + "\n")
        temporary.rename(self.folder / "shop.prom")

    def run(self):
        while True:
            self.write()
            time.sleep(1)


def need(program, package):
    found = shutil.which(program)
    if not found:
        sys.exit(f"{program} is missing: apt-get install --no-install-recommends {package} (scripts/install-test-tools does it)")
    return found


def configure(home, gateway, ports):
    prometheus = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(HERE / "docker/prometheus/rules/homeostat.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alertmanager']}"]}]}]},
        "scrape_configs": [
            {"job_name": "homeostat", "static_configs": [{"targets": [gateway.removeprefix("http://")]}]},
            {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{ports['node']}"]}]},
        ],
    }
    # The committed routes, with the webhook as the people who are told, and at once.
    alertmanager = {
        "route": {"receiver": "people", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [{"name": "people", "webhook_configs": [{"url": f"http://127.0.0.1:{ports['webhook']}/"}]}],
    }
    (home / "prometheus.yaml").write_text(json.dumps(prometheus))
    (home / "alertmanager.yaml").write_text(json.dumps(alertmanager))


def panels():
    for file in sorted((HERE / "docker/grafana/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                # What Grafana would put in for the variables.
                yield board["title"], panel["title"], re.sub(r"\$service\b", ".*", target["expr"])


def ask(prometheus, expr):
    answer = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
    return [series["value"][1] for series in answer["data"]["result"]]


def traffic(gateway):
    for run in sorted(demo.RUNS.iterdir()):
        for body in sorted([*run.glob("*.pb"), *run.glob("0*.json")]):
            kind = "application/json" if body.suffix == ".json" else "application/x-protobuf"
            demo.post(gateway + "/v1/traces", body.read_bytes(), kind)


def main():
    binary, check = pathlib.Path(sys.argv[1]).resolve(), "--check" in sys.argv
    tools = {name: need(name, package) for name, package in
             [("prometheus", "prometheus"), ("prometheus-alertmanager", "prometheus-alertmanager"), ("prometheus-node-exporter", "prometheus-node-exporter")]}
    webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    ports = {"prometheus": free_port(), "alertmanager": free_port(), "node": free_port(), "webhook": webhook.server_address[1]}
    with tempfile.TemporaryDirectory(prefix="homeostat-observe-") as folder:
        home = pathlib.Path(folder)
        programs = Programs(home)
        try:
            up = programs.start("homeostat", binary, "up", "--data-dir", home / "data", "--listen", "127.0.0.1:0")
            (home / "data").mkdir(exist_ok=True)
            here = demo.wait_until_ready(up, home / "data")
            gateway, prometheus = here["gateway"], f"http://127.0.0.1:{ports['prometheus']}"
            configure(home, gateway, ports)
            (home / "textfiles").mkdir()
            shop = Shop(home / "textfiles")
            shop.write()
            programs.start("node-exporter", tools["prometheus-node-exporter"], f"--web.listen-address=127.0.0.1:{ports['node']}",
                           f"--collector.textfile.directory={home / 'textfiles'}")
            programs.start("alertmanager", tools["prometheus-alertmanager"], f"--config.file={home / 'alertmanager.yaml'}",
                           f"--storage.path={home / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=")
            programs.start("prometheus", tools["prometheus"], f"--config.file={home / 'prometheus.yaml'}", f"--storage.tsdb.path={home / 'prometheus'}",
                           f"--web.listen-address=127.0.0.1:{ports['prometheus']}")
            shop.start()
            programs.until("all targets are scraped", lambda: ask(prometheus, "up") == ["1", "1"])
            rules = programs.until("Prometheus has loaded the rules", lambda: get(prometheus + "/api/v1/rules")["data"]["groups"])
            print(f"Homeostat {gateway}, Prometheus {prometheus}, Alertmanager http://127.0.0.1:{ports['alertmanager']}")
            print(f"{sum(len(group['rules']) for group in rules)} rules loaded; sending recorded traffic of five shops\n", flush=True)
            began = time.monotonic()
            traffic(gateway)
            programs.until(f"{WANTED} at the webhook", lambda: any(a["labels"]["alertname"] == WANTED for a in Receiver.received))
            print(f"\n{WANTED} came from telemetry through Prometheus and Alertmanager to the webhook in {time.monotonic() - began:.1f} s; on the bus it was:")
            alerts = get(gateway + "/api/v1/alerts")
            alerts = [a for a in alerts if a["rule"] == "query.slow"]
            for alert in alerts:
                print(f"  {alert['severity']:8} {alert['rule']} {alert['service']}: {alert['summary']}")
            # Rates need a second sample of what only now began.
            traffic(gateway)
            missing = []

            def answered():
                missing[:] = [(b, p, q) for b, p, q in panels() if not ask(prometheus, q)]
                return not missing

            count = len(list(panels()))
            end = time.monotonic() + 60
            while not answered() and time.monotonic() < end:
                programs.alive()
                time.sleep(1)
            print(f"\n{count - len(missing)} of {count} queries of the dashboards have data")
            for board, panel, query in missing:
                print(f"  nothing: {board} / {panel}: {query}")
            if check:
                sys.exit(1 if missing or not alerts else 0)
            print("\nThe system goes on. Ctrl-C ends it and removes its data.", flush=True)
            up.wait()
        except KeyboardInterrupt:
            pass
        finally:
            programs.end()


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
