#!/usr/bin/env python3
"""Go's own net/rpc client against farcall's server and against Go's: calls a second, in turn, on one core.

    Build bin/farcall-peer and bin/go-netrpc first (README.md), then
    ./go_client.py [--rounds 5] [--seconds 1.5] [--workload w1b] [--cpu 1]
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import time

SERVERS = {
    "farcall": ["bin/farcall-peer", "netrpc", "server"],
    "go": ["bin/go-netrpc", "gob", "server"],
}
CLIENT = ["bin/go-netrpc", "gob", "client"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"no server came up at port {port}")


def measure(server, options):
    port = free_port()
    pin = ["taskset", "-c", str(options.cpu)]
    running = subprocess.Popen([*pin, *SERVERS[server], str(port)])
    try:
        wait_for(port)
        command = [*pin, *CLIENT, str(port), options.workload, str(options.seconds)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result = json.loads(lines.strip().splitlines()[-1])
        return result["calls"] / result["wall_s"]
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--workload", default="w1b")
    parser.add_argument("--cpu", type=int, default=1)
    options = parser.parse_args()
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    rounds = []
    for _ in range(options.rounds):
        rates = {server: measure(server, options) for server in SERVERS}
        rounds.append(rates)
        shown = "  ".join(f"{server} {rate:10,.0f}" for server, rate in rates.items())
        print(f"{shown}  ratio {rates['farcall'] / rates['go']:.2f}", flush=True)
    ratios = sorted(rates["farcall"] / rates["go"] for rates in rounds)
    print(f"ratio farcall/go: median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
