#!/usr/bin/env python3
"""Homeostat with its observers, without containers: Prometheus, Alertmanager and node exporter from Debian on loopback, the rules of
docker/prometheus/rules, recorded traffic of real shops with every other kind of telemetry beside it, and a webhook that receives what
Alertmanager says. Then every panel of the dashboards whose numbers come within a minute asks Prometheus its question. Needs nothing but
Python's own library.

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
from gateway import get, post

HERE = pathlib.Path(__file__).resolve().parent.parent
WANTED = "QuerySlow"
DEADLINE = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
            {"job_name": "homeostat-objects", "metrics_path": "/metrics/per-object",
             "static_configs": [{"targets": [gateway.removeprefix("http://")]}]},
            {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{ports['node']}"]}]},
        ],
    }
    # Everybody is told by one webhook, and at once.
    alertmanager = {
        "route": {"receiver": "people", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [{"name": "people", "webhook_configs": [{"url": f"http://127.0.0.1:{ports['webhook']}/"}]}],
    }
    (home / "prometheus.yaml").write_text(json.dumps(prometheus))
    (home / "alertmanager.yaml").write_text(json.dumps(alertmanager))


# Exporters that only the compose files start: their panels are not asked here.
ELSEWHERE = {"containers.json"}
# What a mind says only after hours of telemetry, or when it found something: tests/operations/objects.rs asks these with the views
# written by hand.
AFTER_HOURS = re.compile("homeostat_(forecast_(expected|point|limit)|leak_(growth|time)|drift_(psi|p_value|e_value)|key_last_used|alert_started_timestamp_seconds\\{rule)")


def panels():
    """Every question of the dashboards to Prometheus, as Grafana would ask it: dashboard, panel, question."""
    for file in sorted((HERE / "docker/grafana/dashboards").glob("*.json")):
        if file.name in ELSEWHERE:
            continue
        board = json.loads(file.read_text())
        everything = {variable["name"]: variable["allValue"] for variable in board["templating"]["list"] if "allValue" in variable}
        for panel in board["panels"]:
            for target in panel["targets"]:
                # The others ask Tempo.
                if "expr" in target:
                    # What Grafana would put in for the variables.
                    expr = target["expr"].replace("$__rate_interval", "1m")
                    yield board["title"], panel["title"], re.sub(r"\$(\w+)", lambda found: everything[found[1]], expr)


def ask(prometheus, expr):
    answer = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
    return [series["value"][1] for series in answer["data"]["result"]]


def traffic(gateway):
    """Recorded spans of five shops."""
    for run in sorted(demo.RUNS.iterdir()):
        for body in sorted([*run.glob("*.pb"), *run.glob("0*.json")]):
            kind = "application/json" if body.suffix == ".json" else "application/x-protobuf"
            post(gateway + "/v1/traces", body.read_bytes(), kind)


class Checkout(threading.Thread):
    """A service that says everything of itself that is no span, every second. All calls of its replicas to a peer fail."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway = gateway

    def say(self):
        now = int(time.time() * 1000)
        said = [
            {"kind": "heartbeat", "up_s": 60, "interval_s": 5},
            {"kind": "resource", "memory_bytes": 400_000_000, "memory_limit_bytes": 1_000_000_000, "started_ms": now - now % 3_600_000},
            {"kind": "pool", "name": "main", "used": 9, "max": 10},
            {"kind": "cache", "name": "products", "hits": 40, "misses": 60, "over_ms": 1_000},
            {"kind": "metric", "name": "queue.depth", "value": 17 + now // 1000 % 5},
            {"kind": "sample", "model": "risk", "feature": "age", "values": list(range(18, 90))},
            {"kind": "calls", "peer": "payments", "ok": 0, "failed": 30, "shed": 0, "over_ms": 1_000},
            {"kind": "breaker", "peer": "payments", "state": "open", "from": "closed", "why": "failure_rate", "epoch": now},
            {"kind": "query", "statement": "select * from orders where customer = 7", "took_us": 300_000, "system": "postgresql"},
        ]
        for replica in ("checkout-1", "checkout-2", "checkout-3"):
            events = [{"service": "checkout", "instance": replica, "at_ms": now, **event} for event in said]
            post(self.gateway + "/v1/events", events)

    def run(self):
        while True:
            try:
                self.say()
            except OSError:
                # The gateway has ended before this thread.
                return
            time.sleep(1)


def key(binary, home, gateway):
    """An API key that ends, and is shown once."""
    made = subprocess.run([binary, "keys", "create", "--owner", "checkout", "--scope", "metrics", "--expires", "30d", "--json",
                           "--data-dir", home / "data"], capture_output=True, text=True, check=True)
    request = urllib.request.Request(gateway + "/metrics", headers={"Authorization": "Bearer " + json.loads(made.stdout)["key"]})
    urllib.request.urlopen(request, timeout=10).close()


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
            up = programs.start("homeostat", binary, "up", "--data-dir", home / "data", "--listen", "127.0.0.1:0",
                                # Alerts go to Alertmanager as Homeostat says them, and not only as the rules count them.
                                "--set", f"delivery.alertmanager.urls=['http://127.0.0.1:{ports['alertmanager']}']",
                                # Series are to be seen within minutes.
                                "--set", "actors.forecast.step_ms=1000")
            (home / "data").mkdir(exist_ok=True)
            here = demo.wait_until_ready(up, home / "data", home / "homeostat.log")
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
            programs.until("all targets are scraped", lambda: ask(prometheus, "up") == ["1", "1", "1"])
            rules = programs.until("Prometheus has loaded the rules", lambda: get(prometheus + "/api/v1/rules")["data"]["groups"])
            print(f"Homeostat {gateway}, Prometheus {prometheus}, Alertmanager http://127.0.0.1:{ports['alertmanager']}")
            print(f"{sum(len(group['rules']) for group in rules)} rules loaded; sending recorded traffic of five shops\n", flush=True)
            began = time.monotonic()
            Checkout(gateway).start()
            key(binary, home, gateway)
            traffic(gateway)
            programs.until(f"{WANTED} at the webhook", lambda: any(a["labels"]["alertname"] == WANTED for a in Receiver.received))
            print(f"\n{WANTED} came from telemetry through Prometheus and Alertmanager to the webhook in {time.monotonic() - began:.1f} s; on the bus it was:")
            alerts = get(gateway + "/api/v1/alerts")
            alerts = [a for a in alerts if a["rule"] == "query.slow"]
            for alert in alerts:
                print(f"  {alert['severity']:8} {alert['rule']} {alert['service']}: {alert['summary']}")
            # Rates need a second sample of what only now began.
            traffic(gateway)
            asked = [question for question in panels() if not AFTER_HOURS.search(question[2])]
            missing = []

            def answered():
                missing[:] = [(b, p, q) for b, p, q in asked if not ask(prometheus, q)]
                return not missing

            count = len(asked)
            end = time.monotonic() + DEADLINE
            while not answered() and time.monotonic() < end:
                programs.alive()
                time.sleep(1)
            print(f"\n{count - len(missing)} of {count} queries of the dashboards have data; {len(list(panels())) - count} more need hours of "
                  f"telemetry, and {', '.join(sorted(ELSEWHERE))} other exporters")
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
