#!/usr/bin/env python3
"""Reading a V8 heap snapshot: `homeostat heap diff` beside the crate v8-heap-parser, in the same run.

    cargo build --release && benches/peers/heap/run.py [MEGABYTES] [--homeostat PATH] [--work DIR]

Writes a snapshot (200 MB unless said otherwise), builds the peer, lets both read it, and prints wall-clock and processor time and the
greatest resident memory of each, best of three. `heap diff` reads two files; the second is a small one, so that one is measured.
"""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import snapshot  # noqa: E402


def measure(command):
    """Seconds, processor seconds and MB of a command. A fork of its own, for the greatest memory of all children is one number."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        start = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(writer, repr((done.returncode, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)).encode())
        os._exit(0)
    os.close(writer)
    code, *numbers = eval(os.read(reader, 1000).decode())  # noqa: S307 (our own tuple)
    os.waitpid(child, 0)
    os.close(reader)
    if code != 0:
        sys.exit(f"{command} ended with {code}")
    return numbers


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("megabytes", type=int, nargs="?", default=200)
    arguments.add_argument("--homeostat", default=str(HERE.parents[2] / "target/release/homeostat"))
    arguments.add_argument("--work", default=None, help="where files and the peer's build go [default: a temporary directory]")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(given.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        large, small = work / "large.heapsnapshot", work / "small.heapsnapshot"
        snapshot.write(large, given.megabytes)
        snapshot.write(small, 1)
        build = ["cargo", "build", "--release", "--quiet", "--manifest-path", HERE / "Cargo.toml", "--target-dir", work / "target"]
        subprocess.run(build, check=True)
        commands = {
            "homeostat heap diff": [given.homeostat, "heap", "diff", large, small, "--json"],
            "v8-heap-parser": [work / "target/release/heap-peers", large],
        }
        print(f"{large.stat().st_size / 1e6:.0f} MB")
        print(f"{'':22} {'s':>7} {'cpu s':>7} {'MB':>7}")
        for name, command in commands.items():
            wall, used, memory = min(measure(command) for _ in range(3))
            print(f"{name:22} {wall:7.2f} {used:7.2f} {memory:7.0f}")


if __name__ == "__main__":
    main()
