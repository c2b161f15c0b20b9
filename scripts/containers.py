#!/usr/bin/env python3
"""The image and the compose files on a real Docker engine: each is started as docker/README.md says, hears of a slow query, and must say so;
then something of it is stopped, and it must go on. Needs Docker 25 and Compose 2.24 or newer, and nothing but Python's own library.

usage: containers.py [--image NAME] [--without SERVICE,SERVICE...] [case...]

--image takes an image that is there instead of building one. --without leaves out services of compose.observe.yaml whose images cannot be had.
Containers, networks and volumes have a name of this run's own and are removed at its end, however it ends; ports are those that the engine hands
out; passwords are those in docker/secrets, made where there are none.
"""

import argparse
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from gateway import check, get, incidents, slow_query

HERE = pathlib.Path(__file__).resolve().parent.parent
DOCKER = HERE / "docker"
NAME = f"homeostat-trial-{os.getpid()}"
DEADLINE = 120
# Published ports by service. The files name fixed ones, which may be taken.
PORTS = {
    "compose.yaml": {"homeostat": 8080, "nats": 4222},
    "compose.cluster.yaml": {"homeostat-2": 8080},
    "compose.observe.yaml": {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000},
}


def docker(*arguments, quiet=True):
    # A session of its own: Ctrl-C is for this script, which then clears up.
    result = subprocess.run(["docker", *map(str, arguments)], capture_output=quiet, text=True, cwd=HERE, start_new_session=True)
    if result.returncode != 0:
        said = f"{result.stdout or ''}{result.stderr or ''}"[-4000:]
        sys.exit(f"docker {' '.join(map(str, arguments))}: exit {result.returncode}\n{said}")
    return (result.stdout or "").strip()


def until(what, look):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    sys.exit(f"not within {DEADLINE} s: {what}")


def send(url, service):
    """One slow query; the status of the answer."""
    try:
        return slow_query(url, service)
    except urllib.error.HTTPError as error:
        return error.code


def slow(url, service):
    """Makes one alert, and waits until it is open and in history."""
    until(f"telemetry of {service} to be taken", lambda: send(url, service) == 200)
    until(f"the alert about {service}", lambda: incidents(url, f"?service={service}"))
    until(f"history about {service}", lambda: incidents(url, f"?all&service={service}"))


class Container:
    """One container as in the README: read-only, no capabilities, a volume for its data."""

    def __init__(self, image):
        self.image = image

    def __enter__(self):
        docker("run", "--detach", "--name", NAME, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
               "--volume", f"{NAME}:/data", "--publish", "127.0.0.1::8080", "--env", "HOMEOSTAT_GATEWAY__LISTEN=0.0.0.0:8080",
               "--env", "HOMEOSTAT_GATEWAY__INSECURE_ALLOW_REMOTE=true", "--stop-timeout", "30", self.image)
        return self

    def __exit__(self, *_):
        if sys.exc_info()[0]:
            subprocess.run(["docker", "logs", "--tail", "30", NAME], stdout=sys.stderr)

    def healthy(self):
        """Its address: the engine hands out another port at each start."""
        until("the container to be healthy", lambda: docker("inspect", "--format", "{{.State.Health.Status}}", NAME) == "healthy")
        return "http://" + docker("port", NAME, "8080/tcp").splitlines()[0]


def shared_root(image):
    """Does the engine see what is mounted later? On a machine that systemd started, yes; on one that is a container itself, maybe not."""
    asked = ["docker", "run", "--rm", "--volume", "/:/host:ro,rslave", "--entrypoint", "true", image]
    return subprocess.run(asked, capture_output=True).returncode == 0


class Compose:
    """Some of the compose files together."""

    def __init__(self, home, image, *files):
        overrides = home / "overrides.yaml"
        lines = ["services:"]
        for file in files:
            for service, port in PORTS.get(file, {}).items():
                lines += [f"  {service}:", f"    ports: !override [\"127.0.0.1::{port}\"]"]
                if service.startswith("homeostat"):
                    lines.append(f"    image: {image}")
        if "compose.observe.yaml" in files and not shared_root(image):
            lines += ["  node-exporter:", "    volumes: !override [\"/:/host:ro\"]"]
        overrides.write_text("\n".join(lines) + "\n")
        self.prefix = ["compose", "--project-name", NAME, *(a for f in files for a in ("--file", DOCKER / f)), "--file", overrides]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if sys.exc_info()[0]:
            print(self.run("logs", "--no-color", "--tail", "30"), file=sys.stderr)
        self.run("down", "--volumes", "--timeout", "30")

    def run(self, *arguments):
        return docker(*self.prefix, *arguments)

    def services(self, without):
        return [service for service in self.run("config", "--services").split() if service not in without]

    def up(self, *services):
        self.run("up", "--no-build", "--detach", "--wait", "--wait-timeout", DEADLINE, *services)

    def url(self, service, port):
        """Asked anew after each start: the engine hands out another port."""
        return "http://" + self.run("port", service, port)

    def ready(self, service="homeostat"):
        url = self.url(service, 8080)
        until(f"{service} to be ready", lambda: urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200)
        return url

    def takeover(self):
        """Kills the one that works. Which, who works now, and after how many seconds an alert was there."""
        both = {name: self.ready(name) for name in ("homeostat", "homeostat-2")}
        works = until("one to work", lambda: [name for name, url in both.items() if not get(f"{url}/readyz?verbose")["standby"]])
        check(len(works) == 1, f"one works, not {works}")
        other = next(name for name in both if name not in works)
        self.run("kill", *works)
        killed = time.monotonic()
        slow(both[other], "after-the-kill")
        return works[0], other, time.monotonic() - killed


def image(_home, tag, _without):
    """One container, stopped, started and killed: nothing is lost."""
    with Container(tag) as one:
        url = one.healthy()
        slow(url, "first")
        before = incidents(url, "?all")
        user = docker("exec", NAME, "id", "-u")
        check(user == "10001", f"it runs as user 10001, not {user}")
        docker("exec", NAME, "homeostat", "doctor")
        check("select a from t" in docker("exec", NAME, "homeostat", "explain", before[0][1]), "`homeostat explain` tells of the query")
        docker("stop", NAME)
        code = docker("inspect", "--format", "{{.State.ExitCode}}", NAME)
        check(code == "0", f"a clean stop, not {code}")
        docker("start", NAME)
        check(incidents(one.healthy(), "?all") == before, "history is what it was")
        docker("kill", NAME)
        docker("start", NAME)
        url = one.healthy()
        check(incidents(url, "?all") == before, "history is what it was after a kill")
        slow(url, "second")
    size = int(docker("image", "inspect", "--format", "{{.Size}}", tag))
    return f"image of {size / 1e6:.0f} MB"


def compose(home, tag, _without):
    """With a nats-server and PostgreSQL: both are restarted under it, then all is lost and comes back from a backup."""
    with Compose(home, tag, "compose.yaml") as all:
        all.up()
        slow(all.ready(), "first")
        for service in ("nats", "postgres"):
            all.run("restart", service)
            slow(all.ready(), f"after-{service}")
        before = incidents(all.ready(), "?all")
        all.run("stop")
        ended = all.run("ps", "--all", "--format", "{{.Service}} {{.ExitCode}}").splitlines()
        check("homeostat 0" in ended, f"a clean stop: {ended}")

        def tar(volume, *arguments):
            docker("run", "--rm", "--user", "0", "--entrypoint", "tar", "--volume", f"{NAME}_{volume}:/volume", "--volume", f"{home}:/backup", tag,
                   "-C", "/volume", *arguments)

        volumes = ("homeostat-data", "nats-data", "postgres-data")
        for volume in volumes:
            tar(volume, "-cf", f"/backup/{volume}.tar", ".")
        all.run("down", "--volumes")
        all.run("create", "--no-build")
        for volume in volumes:
            tar(volume, "-xf", f"/backup/{volume}.tar")
        all.up()
        check(incidents(all.ready(), "?all") == before, "history is what it was")
        all.run("exec", "-T", "homeostat", "homeostat", "replay", "--stream", "--verify")
    return f"{len(before)} incidents kept"


def cluster(home, tag, _without):
    """Three nats-servers and two Homeostats: a server is lost with its disk, then two are gone, then the Homeostat that works."""
    with Compose(home, tag, "compose.yaml", "compose.cluster.yaml") as all:
        all.up()
        slow(all.ready(), "first")
        # One is lost with its disk: an empty one takes its place, and what was copied to it carries on when another is gone.
        all.run("rm", "--stop", "--force", "nats-2")
        slow(all.ready(), "without-nats-2")
        docker("volume", "rm", f"{NAME}_nats-2-data")
        all.up("nats-2")
        all.run("kill", "nats-3")
        slow(all.ready(), "on-the-copy")
        # Two are gone: nothing is taken, until one is back.
        all.run("kill", "nats-2")
        until("telemetry to be refused without a majority", lambda: send(all.url("homeostat", 8080), "nobody") == 503)
        all.run("start", "nats-2")
        slow(all.ready(), "with-two-again")
        all.run("start", "nats-3")
        signers = {all.run("exec", "-T", name, "cat", "/data/signing.pub") for name in ("homeostat", "homeostat-2")}
        check(len(signers) == 1, f"both sign with one key, not {signers}")
        all.run("exec", "-T", "homeostat", "homeostat", "keys", "bootstrap")
        all.run("exec", "-T", "homeostat-2", "homeostat", "keys", "verify", "/first/bootstrap.key")
        killed, other, took = all.takeover()
        all.run("start", killed)
        until(f"{killed} to stand by", lambda: get(f"{all.ready(killed)}/readyz?verbose")["standby"])
    return f"{other} spoke {took:.1f} s after {killed} was killed"


def observe(home, tag, without):
    """With observers: Prometheus scrapes each and has every rule, an alert is heard once."""
    with Compose(home, tag, "compose.yaml", "compose.observe.yaml") as all:
        here = all.services(without)
        all.up("--no-deps", *here)
        slow(all.ready(), "first")
        prometheus, alertmanager = all.url("prometheus", 9090), all.url("alertmanager", 9093)

        def down():
            targets = get(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]
            return [t for t in targets if t["health"] != "up" and t["discoveredLabels"]["__address__"].split(":")[0] not in without]

        until("every target to be up", lambda: not down())
        rules = sum(len(group["rules"]) for group in get(f"{prometheus}/api/v1/rules")["data"]["groups"])
        written = (DOCKER / "prometheus/rules/homeostat.yaml").read_text().count("alert:")
        check(rules == written, f"{written} rules are loaded, not {rules}")

        def told(name):
            return [a for a in get(f"{alertmanager}/api/v2/alerts") if a["labels"]["alertname"] == name]

        own = until("the alert in Alertmanager", lambda: told("query.slow"))[0]
        check(own["labels"]["service"] == "first" and own["receivers"] == [{"name": "people"}], f"people are told of it: {own}")
        copy = until("Prometheus' copy of it in Alertmanager", lambda: told("QuerySlow"))[0]
        check(copy["receivers"] == [{"name": "nobody"}], f"nobody is told of the copy: {copy}")
        if "grafana" not in without:
            password = (DOCKER / "secrets/grafana_password").read_text().strip()
            found = get(all.url("grafana", 3000) + "/api/search?type=dash-db", "admin", password)
            dashboards = len(list((DOCKER / "grafana/dashboards").glob("*.json")))
            check(len(found) == dashboards, f"Grafana has {dashboards} dashboards, not {len(found)}")
    return f"{len(here)} services, {rules} rules"


def together(home, tag, without):
    """The cluster with observers: after a takeover Prometheus sees that one works."""
    with Compose(home, tag, *PORTS, "compose.cluster.observe.yaml") as all:
        all.up("--no-deps", *all.services(without))
        slow(all.ready(), "first")
        prometheus = all.url("prometheus", 9090)

        def working():
            found = get(f"{prometheus}/api/v1/query?query=homeostat_active")["data"]["result"]
            return [series["metric"]["instance"].split(":")[0] for series in found if series["value"][1] == "1"]

        until("Prometheus to see the first", working)
        _, other, _ = all.takeover()
        until(f"Prometheus to see {other} alone", lambda: working() == [other])
        loud = get(f"{prometheus}/api/v1/query?query=ALERTS{{alertname=%22HomeostatNotAtWork%22,alertstate=%22firing%22}}")["data"]["result"]
        check(not loud, f"nobody was called: {loud}")
    return f"{other} works"


CASES = {case.__name__: case for case in (image, compose, cluster, observe, together)}


def make_secrets():
    """Those of docker/README.md, unless they are there."""
    folder = DOCKER / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in ("nats_password", "nats_route_password", "postgres_password", "grafana_password"):
        if not (folder / name).exists():
            (folder / name).write_text(f"hs-{secrets.token_hex(24)}\n")
            (folder / name).chmod(0o644)


def clear_up():
    """Whatever bears this run's name, also what a command that was interrupted had begun."""
    for sort, shown, removed in (("container", ["--all"], ["--volumes"]), ("network", [], []), ("volume", [], [])):
        listing = ["docker", sort, "ls", "--quiet", *shown, "--filter", f"name={NAME}"]
        if found := subprocess.run(listing, capture_output=True, text=True).stdout.split():
            subprocess.run(["docker", sort, "rm", "--force", *removed, *found], capture_output=True)
    subprocess.run(["docker", "image", "rm", "--force", NAME], capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--image", metavar="NAME", help="an image that is there; without it one is built")
    parser.add_argument("--without", default="", metavar="SERVICE,...", help="services whose images cannot be had")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"one of {', '.join(CASES)} (default: all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no case is called {', '.join(sorted(unknown))}: there are {', '.join(CASES)}")
    without = set(filter(None, arguments.without.split(",")))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("interrupted"))
    make_secrets()
    try:
        if not arguments.image:
            docker("build", "--file", DOCKER / "Dockerfile", "--tag", NAME, ".", quiet=False)
        for name in arguments.cases or CASES:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as home:
                said = CASES[name](pathlib.Path(home), arguments.image or NAME, without)
            print(f"{name:8} {time.monotonic() - started:6.1f} s  {CASES[name].__doc__} {said}.", flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        clear_up()
    if without:
        print(f"left out: {', '.join(sorted(without))}")


if __name__ == "__main__":
    main()
