#!/usr/bin/env python3
"""`homeostat query digest` beside pt-query-digest and pgBadger, on the same generated logs.

    benches/peers/digest.py target/release/homeostat [--queries 200000] [--scale 20] [--rounds 3]

Needs `pt-query-digest` (Debian: percona-toolkit) and `pgbadger`; a peer that is not there is left out. Two logs are generated, the same every
time: 200 statement shapes of about 170 bytes with other literals in each execution, as a PostgreSQL log (log_line_prefix '%m [%p] %u@%d ') and
as a MySQL slow log. Peers read `--queries` of them; Homeostat reads `--scale` times as many, so that it runs long enough to be timed.

Printed are executions a second of processor time (user + system, all threads; the figure to compare) and of wall time, the ratio to the peer,
peak memory, and whether both counted the same executions and the same time.
"""
import argparse, os, random, re, resource, shutil, subprocess, sys, tempfile, time

SHAPES = 200


def shapes(seed=1):
    rng = random.Random(seed)
    tables = [f"{a}_{b}" for a in ("order", "user", "cart", "stock", "audit", "price") for b in ("items", "log", "history", "lines")]
    columns = ["customer_id", "status", "created_at", "warehouse_id", "amount_cents", "external_ref", "currency", "updated_by"]
    for n in range(SHAPES):
        t, u = rng.sample(tables, 2)
        c = rng.sample(columns, 5)
        yield [
            f"SELECT a.id, a.{c[0]}, a.{c[1]}, b.{c[2]} FROM {t} a JOIN {u} b ON b.id = a.ref_{n} WHERE a.{c[3]} = {{i}} AND b.{c[4]} = '{{s}}' ORDER BY a.{c[0]} DESC LIMIT 20",
            f"UPDATE {t} SET {c[0]} = '{{s}}', {c[1]} = {{i}}, touched_{n} = '2026-01-01 00:00:00' WHERE {c[2]} = {{i}} AND {c[3]} IN ({{i}}, {{i}}, {{i}})",
            f"INSERT INTO {t} ({c[0]}, {c[1]}, {c[2]}, extra_{n}) VALUES ({{i}}, '{{s}}', '{{s}}', {{i}}), ({{i}}, '{{s}}', '{{s}}', {{i}})",
            f"SELECT count(*), max({c[0]}) FROM {t} WHERE {c[1]} = '{{s}}' AND {c[2]} BETWEEN {{i}} AND {{i}} AND flag_{n} IS NOT NULL GROUP BY {c[3]} HAVING count(*) > {{i}}",
        ][n % 4]


def logs(queries, postgres, mysql):
    """Writes both logs; the time of all executions in microseconds."""
    rng = random.Random(7)
    forms = [re.split(r"(\{[is]\})", shape) for shape in shapes()]
    total = 0
    with open(postgres, "w", buffering=1 << 20) as pg, open(mysql, "w", buffering=1 << 20) as my:
        my.write("/usr/sbin/mysqld, Version: 8.0.36 (MySQL Community Server - GPL). started with:\nTcp port: 3306  Unix socket: /run/mysqld.sock\nTime                 Id Command    Argument\n")
        for n in range(queries):
            form = forms[min(int(rng.expovariate(0.03)), SHAPES - 1)]
            text = "".join(str(rng.randrange(10**7)) if part == "{i}" else "%08x" % rng.getrandbits(32) if part == "{s}" else part for part in form)
            took = int(rng.lognormvariate(7, 1.2)) + 1
            total += took
            second = n // 500
            clock = f"2026-01-{1 + second // 86400:02} {second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
            pg.write(f"{clock}.{n % 500 * 2:03} UTC [{1000 + n % 50}] app@shop LOG:  duration: {took / 1000:.3f} ms  statement: {text}\n")
            my.write(
                f"# Time: {clock.replace(' ', 'T')}.{n % 500 * 2000:06}Z\n# User@Host: app[app] @ web [10.0.0.7]  Id: {1000 + n % 50}\n"
                f"# Query_time: {took / 1e6:.6f}  Lock_time: 0.000002 Rows_sent: {n % 20}  Rows_examined: {n % 2000}\nSET timestamp={1767225600 + second};\n{text};\n"
            )
    return total


def run(command, out):
    """Processor seconds, wall seconds, peak memory in MB."""
    began = time.monotonic()
    with open(out, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("homeostat")
    parser.add_argument("--queries", type=int, default=200_000)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as dir:
        path = lambda name: os.path.join(dir, name)
        logs(args.queries, path("pg.log"), path("my.log"))
        total = logs(args.queries * args.scale, path("pg-long.log"), path("my-long.log"))
        for name in ("pg-long.log", "my-long.log"):
            size = os.path.getsize(path(name)) / 1e6
            print(f"{name}: {args.queries * args.scale:,} executions, {size:,.0f} MB", file=sys.stderr)
        peers = [
            ("pgbadger", "pg", ["pgbadger", "-q", "-f", "stderr", "-p", "%m [%p] %u@%d ", "-x", "json", "-o", path("out.json"), path("pg.log")]),
            ("pt-query-digest", "my", ["pt-query-digest", path("my.log")]),
        ]
        print(f"{'':18} {'executions/s of processor':>26} {'of wall time':>14} {'MB':>7}")
        for peer, log, command in peers:
            ours = [args.homeostat, "query", "digest", path(f"{log}-long.log"), "--json"]
            rounds = []
            for _ in range(args.rounds):
                theirs = run(command, path("peer.txt")) if shutil.which(peer) else None
                rounds.append((run(ours, path("ours.txt")), theirs))
            own = min((round[0] for round in rounds), key=lambda usage: usage[0])
            count = args.queries * args.scale
            print(f"{'homeostat, ' + log:18} {count / own[0]:>26,.0f} {count / own[1]:>14,.0f} {own[2]:>7.0f}")
            found = open(path("ours.txt")).read(2_000_000_000)
            import json

            totals = json.loads(found)["totals"]
            if totals["calls"] != count or abs(totals["total_ms"] * 1000 - total) > 1000 or totals["shapes"] != SHAPES:
                sys.exit(f"the digest is wrong: {totals}")
            if rounds[0][1] is None:
                print(f"{peer:18} {'not installed':>26}")
                continue
            least = min((round[1] for round in rounds), key=lambda usage: usage[0])
            print(f"{peer:18} {args.queries / least[0]:>26,.0f} {args.queries / least[1]:>14,.0f} {least[2]:>7.0f}")
            print(f"{'ratio':18} {count / own[0] / (args.queries / least[0]):>26,.0f} {count / own[1] / (args.queries / least[1]):>14,.0f}")


if __name__ == "__main__":
    main()
