#!/usr/bin/env python3
"""Backup, restore and disasters, for real: each case starts a homeostat with its own nats-server, raises alerts, loses something, brings it
back as docs/backup.md says, and compares. Run it with the Python of scripts/install-test-tools, which has a NATS client.

usage: disasters.py path/to/homeostat [--old path/to/an/older/homeostat] [case...]
"""

import asyncio
import atexit
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

from gateway import check, get, incidents, slow_query

DEADLINE = 60
# Whatever a failed case leaves running is ended with this process.
RUNNING = []


@atexit.register
def end():
    for child in RUNNING:
        if child.poll() is None:
            child.kill()


class Homeostat:
    """A running homeostat with its data directory."""

    def __init__(self, binary, data, *settings):
        self.binary, self.data = binary, pathlib.Path(data)
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "up.json").unlink(missing_ok=True)
        arguments = [binary, "up", "--data-dir", str(data), "--listen", "127.0.0.1:0", *settings]
        self.log = open(self.data.parent / f"{self.data.name}.log", "a")
        self.child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=self.log)
        RUNNING.append(self.child)
        self.url = self.until("ready", self._ready)

    def _ready(self):
        gateway = json.loads((self.data / "up.json").read_text())["gateway"]
        with urllib.request.urlopen(f"{gateway}/readyz", timeout=2) as answer:
            return gateway if answer.status == 200 else None

    def until(self, what, look):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self.child.poll() is not None:
                sys.exit(f"homeostat ended with {self.child.returncode} (waiting for {what}):\n" + pathlib.Path(self.log.name).read_text()[-2000:])
            try:
                found = look()
                if found:
                    return found
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.02)
        sys.exit(f"waited in vain for {what}\n" + pathlib.Path(self.log.name).read_text()[-2000:])

    def slow(self, service):
        """Makes one alert, and waits until it is open and in history."""
        slow_query(self.url, service)
        self.until(f"the alert about {service}", lambda: incidents(self.url, f"?service={service}"))
        self.until(f"history about {service}", lambda: incidents(self.url, f"?all&service={service}"))

    def open(self):
        return incidents(self.url)

    def history(self):
        return incidents(self.url, "?all")

    def run(self, *arguments):
        return subprocess.run([self.binary, *arguments, "--data-dir", str(self.data)], capture_output=True, text=True)

    def verify(self):
        """The whole log replays to exactly what stands on it."""
        result = self.run("replay", "--stream", "--verify")
        check(result.returncode == 0, f"the log does not verify: {result.stdout[-500:]}{result.stderr[-500:]}")
        return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else result.stderr.strip().splitlines()[-1]

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        check(self.child.wait(timeout=DEADLINE) == 0, "a clean stop")

    def kill(self):
        self.child.kill()
        self.child.wait()
        # Its nats-server dies with it; its lock is free when it has.
        time.sleep(0.5)


def raised(homeostat):
    for service in ("first", "second"):
        homeostat.slow(service)
    return homeostat.open()


def cold_copy(binary, home, _old):
    """The data directory copied while homeostat is stopped, lost, and copied back."""
    one = Homeostat(binary, home / "data")
    before = raised(one)
    one.stop()
    shutil.copytree(home / "data", home / "backup")
    shutil.rmtree(home / "data")
    shutil.copytree(home / "backup", home / "data")
    one = Homeostat(binary, home / "data")
    check(one.open() == before, f"the same incidents are open: {before} {one.open()}")
    one.slow("third")
    said = one.verify()
    one.stop()
    return said


def history_copied_while_it_runs(binary, home, _old):
    """SQLite's online backup, taken while it is written to; the database is lost, and brought back."""
    one = Homeostat(binary, home / "data")
    raised(one)
    source, copy = sqlite3.connect(home / "data/homeostat.db"), sqlite3.connect(home / "backup.db")
    source.backup(copy)
    check(copy.execute("pragma integrity_check").fetchone() == ("ok",), "the copy is whole")
    source.close(), copy.close()
    one.slow("third")
    history = one.history()
    one.stop()
    for name in ("homeostat.db", "homeostat.db-wal", "homeostat.db-shm"):
        (home / "data" / name).unlink(missing_ok=True)
    shutil.copy(home / "backup.db", home / "data/homeostat.db")
    one = Homeostat(binary, home / "data")
    # What the copy did not have yet is completed from the log.
    one.until("history to be complete", lambda: one.history() == history)
    one.stop()
    return f"{len(history)} incidents, one of them later than the copy"


def history_lost(binary, home, _old):
    """The database is lost and there is no copy: history is made again from the log."""
    one = Homeostat(binary, home / "data")
    raised(one)
    history = one.history()
    one.kill()
    for name in ("homeostat.db", "homeostat.db-wal", "homeostat.db-shm"):
        (home / "data" / name).unlink(missing_ok=True)
    one = Homeostat(binary, home / "data")
    one.until("history from the log", lambda: one.history() == history)
    one.stop()
    return f"{len(history)} incidents from the log"


def checkpoints_lost(binary, home, _old):
    """The bucket of checkpoints is deleted: actors are rebuilt from the log, and nothing is said twice."""
    one = Homeostat(binary, home / "data")
    before = raised(one)
    asyncio.run(delete_stream(one.data, "KV_homeostat_checkpoints"))
    one.kill()
    one = Homeostat(binary, home / "data")
    one.until("the same incidents", lambda: one.open() == before)
    one.slow("third")
    said = one.verify()
    one.stop()
    return said


def snapshot_while_it_runs(binary, home, _old):
    """JetStream's own snapshots of every stream, taken while it runs, and the keys, restored into an empty server and an empty data directory."""
    one = Homeostat(binary, home / "data")
    before = raised(one)
    streams = asyncio.run(snapshot(one.data, home / "backup"))
    one.slow("later")
    one.kill()
    (home / "fresh").mkdir()
    for key in ("signing.nk", "audit.nk", "keyring.json"):
        shutil.copy(home / "data" / key, home / "fresh" / key)
    shutil.rmtree(home / "data")
    server = Server(binary, home / "restored")
    asyncio.run(restore(server, home / "backup"))
    two = Homeostat(binary, home / "fresh", "--nats", server.url())
    two.until("the incidents of the snapshot", lambda: two.open() == before)
    two.until("history from the log", lambda: two.history() == before)
    two.slow("third")
    result = two.run("replay", "--stream", "--verify", "--nats", server.url())
    check(result.returncode == 0, f"the restored log verifies: {result.stdout[-500:]}{result.stderr[-500:]}")
    signed = two.run("verify", "--check", "--nats", server.url())
    check(signed.returncode == 0, f"what is on it is signed by a key that is trusted: {signed.stdout[-500:]}{signed.stderr[-500:]}")
    two.stop()
    server.stop()
    return f"{len(streams)} streams, {sum(streams.values()) / 1024:.0f} KiB; {(result.stdout + result.stderr).strip().splitlines()[-1]}"


def torn_tail(binary, home, _old):
    """A power cut took the last kilobytes of the log with it, after a checkpoint: actors go back, and go on."""
    one = Homeostat(binary, home / "data", "--set", "shell.checkpoint_every_ms=200")
    raised(one)
    one.until("a checkpoint behind it", lambda: all(actor["checkpoint"] > 0 for actor in get(one.url + "/api/v1/status")["actors"].values()))
    one.kill()
    blocks = sorted((home / "data/jetstream").rglob("streams/homeostat/msgs/*.blk"), key=lambda path: path.stat().st_mtime)
    check(bool(blocks), "the log has a file")
    size = blocks[-1].stat().st_size
    with open(blocks[-1], "r+b") as block:
        block.truncate(size - min(3_000, size // 4))
    for index in blocks[-1].parent.glob("index.db"):
        index.unlink()
    one = Homeostat(binary, home / "data")
    one.slow("third")
    said = one.verify()
    one.stop()
    return f"{min(3_000, size // 4)} bytes of {size} gone; {said}"


def log_lost(binary, home, _old):
    """The whole log is gone: a new one begins, with another incarnation. History stays."""
    one = Homeostat(binary, home / "data")
    raised(one)
    history = one.history()
    one.kill()
    shutil.rmtree(home / "data/jetstream")
    one = Homeostat(binary, home / "data")
    check(one.open() == [], "nothing is open: nobody knows what was")
    one.slow("third")
    check([entry for entry in one.history() if entry[0] != "third"] == history, "history is still there")
    said = one.verify()
    one.stop()
    return said


def postgresql_dumped(binary, home, _old):
    """pg_dump while it runs; the database is dropped, restored, and completed from the log."""
    cluster = Postgresql()
    try:
        settings = ["--database", cluster.url("one")]
        one = Homeostat(binary, home / "data", *settings)
        raised(one)
        cluster.run("pg_dump", "--format=custom", f"--file={cluster.dump}", "one")
        one.slow("third")
        history = one.history()
        one.stop()
        cluster.run("dropdb", "one")
        cluster.run("createdb", "one")
        cluster.run("pg_restore", "--dbname=one", str(cluster.dump))
        one = Homeostat(binary, home / "data", *settings)
        one.until("history to be complete", lambda: one.history() == history)
        one.stop()
        return f"{len(history)} incidents, one of them later than the dump"
    finally:
        cluster.stop()


def newer_tables(binary, home, _old):
    """An older program on a database that a newer one has migrated: it says so and does not touch it."""
    one = Homeostat(binary, home / "data")
    one.stop()
    database = sqlite3.connect(home / "data/homeostat.db")
    database.execute("insert into _sqlx_migrations select 9999, 'newer', installed_on, success, checksum, execution_time from _sqlx_migrations limit 1")
    database.commit()
    database.close()
    result = subprocess.run([binary, "up", "--data-dir", str(home / "data"), "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=DEADLINE)
    check(result.returncode == 1, f"it does not start: {result.returncode} {result.stderr[-300:]}")
    return result.stderr.strip().splitlines()[-1][:160]


def upgrade(binary, home, old):
    """An older program stops, this one goes on with its data: states of another version are rebuilt from the log, nothing is said twice."""
    if old is None:
        return "skipped: name an older program with --old"
    one = Homeostat(old, home / "data")
    before = raised(one)
    one.stop()
    one = Homeostat(binary, home / "data")
    one.until("the same incidents", lambda: one.open() == before)
    one.slow("third")
    alerts = one.run("tail", "alerts", "--since", "1h", "--json", "--count", "3").stdout.splitlines()
    ids = [json.loads(line)["id"] for line in alerts]
    check(len(ids) == len(set(ids)) == 3, f"three alerts, none twice: {ids}")
    one.stop()
    return f"{len(before)} incidents went on"


def rolling_upgrade(binary, home, old):
    """Two processes on one bus: the older one works, the newer one stands by and takes over when the older one stops."""
    if old is None:
        return "skipped: name an older program with --old"
    server = Server(binary, home / "bus")
    one = Homeostat(old, home / "old", "--nats", server.url())
    before = raised(one)
    two = Homeostat(binary, home / "new", "--nats", server.url())
    one.stop()
    two.until("the newer one to work", lambda: get(two.url + "/api/v1/status").get("findings") is not None and two.open() == before)
    two.slow("third")
    two.stop()
    server.stop()
    return "taken over"


CASES = [cold_copy, history_copied_while_it_runs, history_lost, checkpoints_lost, snapshot_while_it_runs, torn_tail, log_lost, postgresql_dumped, newer_tables, upgrade, rolling_upgrade]


class Postgresql:
    """A cluster of PostgreSQL on a free port, run by an ordinary user."""

    def __init__(self):
        import observe

        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.dir, self.port = pathlib.Path(tempfile.mkdtemp(prefix="homeostat-pg-")), observe.free_port()
        self.dump = self.dir / "homeostat.dump"
        self.user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(self.dir, **self.user)
        self.run("initdb", "-D", str(self.dir / "data"), "-U", "homeostat", "-A", "trust", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self.run("pg_ctl", "-D", str(self.dir / "data"), "-w", "-l", str(self.dir / "log"), "-o", options, "start")
        self.run("createdb", "one")

    def run(self, program, *arguments):
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "homeostat", "PATH": os.environ["PATH"]}
        with open(self.dir / "output", "w+") as output:
            result = subprocess.run([str(self.bin / program), *arguments], env=where, cwd="/", stdout=output, stderr=output, **self.user)
            output.seek(0)
            check(result.returncode == 0, f"{program}: {output.read()[-500:]}")

    def url(self, database):
        return f"postgres://homeostat@127.0.0.1:{self.port}/{database}"

    def stop(self):
        self.run("pg_ctl", "-D", str(self.dir / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self.dir)


class Server:
    """A nats-server of its own, as an operator runs one."""

    def __init__(self, binary, data):
        import observe

        data.mkdir(parents=True)
        self.port = observe.free_port()
        found = shutil.which("nats-server")
        for folder in [pathlib.Path(__file__).resolve().parent.parent, *pathlib.Path(binary).resolve().parents]:
            found = found or next((str(p) for p in [folder / ".tools/nats-server", folder / ".tools/nats-server/nats-server"] if p.is_file()), None)
        check(found, "there is a nats-server")
        log = open(data / "log", "w")
        self.child = subprocess.Popen([found, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(data)], stdout=log, stderr=log)
        RUNNING.append(self.child)

    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=DEADLINE)


async def connect(where):
    import nats

    async def quiet(_error):
        pass

    if isinstance(where, Server):
        return await nats.connect(where.url(), allow_reconnect=False, error_cb=quiet)
    run = json.loads((where / "run.json").read_text())
    return await nats.connect(run["url"], user=run["user"], password=run["password"])


async def ask(connection, subject, body):
    answer = json.loads((await connection.request(subject, json.dumps(body).encode(), timeout=20)).data)
    check("error" not in answer, f"{subject}: {answer.get('error')}")
    return answer


async def delete_stream(data, stream):
    connection = await connect(data)
    await ask(connection, f"$JS.API.STREAM.DELETE.{stream}", {})
    await connection.close()


async def snapshot(data, to):
    """Every stream as `nats account backup` takes it: its configuration, and the compressed archive that the server sends."""
    to.mkdir()
    connection = await connect(data)
    names = (await ask(connection, "$JS.API.STREAM.NAMES", {}))["streams"]
    sizes = {}
    for name in names:
        inbox = connection.new_inbox()
        chunks, over = [], asyncio.Event()

        async def take(message):
            # The last, empty chunk says whether all went well.
            if not message.data:
                check((message.headers or {}).get("Status", "") in ("", "204") or "EOF" in str(message.headers), f"{name}: {message.headers}")
                over.set()
            else:
                chunks.append(message.data)
            if message.reply:
                await connection.publish(message.reply, b"")

        subscription = await connection.subscribe(inbox, cb=take)
        answer = await ask(connection, f"$JS.API.STREAM.SNAPSHOT.{name}", {"deliver_subject": inbox, "no_consumers": True, "jsck": True})
        await asyncio.wait_for(over.wait(), DEADLINE)
        await subscription.unsubscribe()
        (to / f"{name}.json").write_text(json.dumps({"config": answer["config"], "state": answer["state"]}))
        (to / f"{name}.tar.s2").write_bytes(b"".join(chunks))
        sizes[name] = sum(map(len, chunks))
    await connection.close()
    return sizes


async def restore(server, backup):
    for _ in range(200):
        try:
            connection = await connect(server)
            break
        except OSError:
            await asyncio.sleep(0.05)
    for about in sorted(backup.glob("*.json")):
        name = about.stem
        answer = await ask(connection, f"$JS.API.STREAM.RESTORE.{name}", json.loads(about.read_text()))
        data = (backup / f"{name}.tar.s2").read_bytes()
        for at in range(0, len(data), 128 * 1024):
            await connection.request(answer["deliver_subject"], data[at : at + 128 * 1024], timeout=20)
        last = json.loads((await connection.request(answer["deliver_subject"], b"", timeout=20)).data)
        check("error" not in last, f"{name}: {last.get('error')}")
    await connection.close()


def main():
    arguments = sys.argv[1:]
    old = None
    if "--old" in arguments:
        at = arguments.index("--old")
        old = str(pathlib.Path(arguments[at + 1]).resolve())
        del arguments[at : at + 2]
    binary, wanted = str(pathlib.Path(arguments[0]).resolve()), arguments[1:]
    for case in CASES:
        if wanted and case.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="homeostat-disaster-") as home:
            began = time.monotonic()
            said = case(binary, pathlib.Path(home), old)
            print(f"{case.__name__}: {said} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
