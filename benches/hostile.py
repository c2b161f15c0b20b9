#!/usr/bin/env python3
"""What strangers cost those who have something to say: the time of good requests, alone and under attack, side by side.

Usage: benches/hostile.py [path of homeostat] [--seconds N] [--key-file FILE]

Starts a system of its own on loopback. One good client asks for alerts and sends heartbeats in turn on one connection. Each attack
is measured between two quiet times, so that a noisy machine shows as a quiet ratio other than 1. With a key file (made for the
data directory's database, see docs/gateway.md) everybody has to show a key, and the flood shows forged ones.
Prints one line of JSON a phase: requests, p50 and p99 in milliseconds, and the ratio of p99 to that of the quiet time before.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time


def connect(address):
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def request(method, path, body=b"", key=None):
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answer(stream, buffer):
    """Status of the next answer; what came behind it stays in the buffer."""
    while b"\r\n\r\n" not in buffer:
        piece = stream.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        buffer += piece
    head, rest = bytes(buffer).split(b"\r\n\r\n", 1)
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(rest) < length:
        rest += stream.recv(65536)
    buffer[:] = rest[length:]
    return int(head.split(b" ", 2)[1])


def measure(address, seconds, key):
    """Times of good requests, milliseconds; every one has to be served."""
    stream, buffer, times, number = connect(address), bytearray(), [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number += 1
        if number % 2:
            good = request("GET", "/api/v1/alerts", key=key)
        else:
            event = {"kind": "heartbeat", "service": "bench", "at_ms": int(time.time() * 1000), "up_s": number, "interval_s": 10}
            good = request("POST", "/v1/events", json.dumps(event).encode(), key)
        begun = time.perf_counter()
        stream.sendall(good)
        status = answer(stream, buffer)
        times.append((time.perf_counter() - begun) * 1000)
        if status != 200:
            sys.exit(f"a good request was answered {status}")
        time.sleep(0.002)
    return sorted(times)


def junk(address, count):
    """Floods: forged keys, broken bodies, paths that there are not."""
    letters = string.ascii_letters + string.digits
    while True:
        try:
            stream, buffer = connect(address), bytearray()
            for _ in range(50):
                forged = "hst_live_" + "".join(random.choices(letters, k=12)) + "_" + "".join(random.choices(letters, k=43)) + "_" + "".join(random.choices(letters, k=17))
                stream.sendall(request("GET", "/metrics", key=forged) if random.random() < 0.5 else request("GET", f"/{forged}"))
                answer(stream, buffer)
                with count.get_lock():
                    count.value += 1
        except (OSError, ConnectionError, ValueError):
            pass


def slow(address, count, how):
    """A thousand sockets that keep the server waiting."""
    sockets = []
    while True:
        while len(sockets) < 1000:
            try:
                stream = connect(address)
                if how == "headers":
                    stream.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\nx: ")
                elif how == "body":
                    stream.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
                else:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    stream.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20)
                stream.setblocking(False)
                sockets.append(stream)
            except OSError:
                break
        with count.get_lock():
            count.value = max(count.value, len(sockets))
        alive = []
        for stream in sockets:
            try:
                if how != "read":
                    stream.send(b"a")
                elif not stream.recv(1):
                    raise OSError
                alive.append(stream)
            except BlockingIOError:
                alive.append(stream)
            except OSError:
                stream.close()
        sockets = alive
        time.sleep(0.5)


def phase(name, address, seconds, key, attack=None, workers=1, arguments=()):
    count = multiprocessing.Value("l", 0)
    attackers = [multiprocessing.Process(target=attack, args=(address, count, *arguments), daemon=True) for _ in range(workers if attack else 0)]
    for attacker in attackers:
        attacker.start()
    if attack:
        time.sleep(2)
    times = measure(address, seconds, key)
    for attacker in attackers:
        attacker.kill()
        attacker.join()
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
    return {"phase": name, "requests": len(times), "p50_ms": round(at(0.5), 3), "p99_ms": round(at(0.99), 3), "attackers_did": count.value}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", nargs="?", default="target/release/homeostat")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--key-file")
    options = parser.parse_args()
    key = open(options.key_file).read().strip() if options.key_file else None
    with tempfile.TemporaryDirectory() as directory:
        command = [options.bin, "--data-dir", directory]
        if key:
            for setting in ["auth=always", "api_per_minute=1000000", "key_per_minute=1000000"]:
                command += ["--set", f"gateway.{setting}"]
        system = subprocess.Popen(command + ["up", "--listen", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = json.loads(system.stdout.readline())["gateway"].split("//")[1]
            for _ in range(300):
                stream = connect(address)
                stream.sendall(request("GET", "/readyz"))
                if answer(stream, bytearray()) == 200:
                    break
                time.sleep(0.1)
            attacks = [
                ("junk flood, 4 clients", junk, 4, ()),
                ("1,000 sockets, slow headers", slow, 1, ("headers",)),
                ("1,000 sockets, slow bodies", slow, 1, ("body",)),
                ("1,000 sockets, slow readers", slow, 1, ("read",)),
            ]
            measure(address, 2, key)
            for name, attack, workers, arguments in attacks:
                quiet = phase("quiet", address, options.seconds, key)
                under = phase(name, address, options.seconds, key, attack, workers, arguments)
                under["p99_ratio"] = round(under["p99_ms"] / quiet["p99_ms"], 2)
                print(json.dumps(quiet), json.dumps(under), sep="\n", flush=True)
        finally:
            system.send_signal(signal.SIGTERM)
            system.wait(30)


if __name__ == "__main__":
    os.setpgrp()
    main()
