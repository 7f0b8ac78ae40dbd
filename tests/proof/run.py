#!/usr/bin/env python3
"""The trial of exactness: replicas of a gateway share one limit of a provider, while replicas are killed, Redis is flushed and
fails over, and requests reach the provider late. Every call is counted at the provider, which enforces its limit.

  tests/proof/run.py --binary target/release/tollfree --out docs/proof
  tests/proof/run.py --binary target/release/tollfree --out /tmp/proof --adapter tests/proof/adapters/rival.toml

Writes index.html, chart.svg and result.json. Ends with 1 if a gateway exceeded the limit, or used too little of it.
Needs Python 3.10, redis-server and redis-cli. adapters/tollfree.toml explains how to add another gateway.
"""

import argparse
import collections
import datetime
import http.client
import json
import os
import platform
import random
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    from pip._vendor import tomli as tomllib

import page
from processes import PROOF, Provider, Redis, Replica, fill, until

MODEL, LIMIT, SPAN_S = "mistral-medium-2604", 240, 60
REPLICAS, CALLERS, JITTER_MS = 4, 100, 250
# Of what the windows of the whole time allow. Flushes and failovers cost seconds in which nothing is admitted.
LEAST_USED = 0.85
KILL_EVERY_S = 10


class Crowd:
    """Callers that send one short request after another, to any replica, and retry at the time that a refusal names. Their pauses spread
    the calls, so that events meet a busy fleet instead of one that has just used up its minute."""

    def __init__(self, adapter, replicas, seconds):
        self.ramp_s, self.think_s = seconds / 6, (seconds / 46, seconds / 16)
        self.adapter, self.replicas, self.end = adapter, replicas, time.monotonic() + seconds
        self.began = time.time()
        self.responses, self.lock = [], threading.Lock()
        self.threads = [threading.Thread(target=self._caller, args=(n,), daemon=True) for n in range(CALLERS)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()

    def _caller(self, number):
        draw = random.Random(number)
        self._pause(draw.uniform(0, self.ramp_s))
        while time.monotonic() < self.end:
            status, after = self._request(draw.choice(self.replicas))
            with self.lock:
                self.responses.append((time.time() - self.began, status))
            is_refused = status in (0, 429, 503)
            self._pause(after + draw.uniform(0, 1) if is_refused else draw.uniform(*self.think_s))

    def _pause(self, seconds):
        time.sleep(max(0, min(seconds, self.end - time.monotonic())))

    def _request(self, replica):
        """The status, or 0 without a response, and the time until a retry."""
        body = {"model": self.adapter["model"], "max_tokens": 4,
                "messages": [{"role": "user", "content": "hi [[tokens=4 ttft=20]]"}]}
        headers = {"content-type": "application/json"}
        if key := self.adapter.get("key"):
            headers["authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=60)
        try:
            connection.request("POST", self.adapter["path"], json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
            after = response.headers["retry-after"] or "1"
            return response.status, float(after) if after.replace(".", "", 1).isdigit() else 1.0
        except (OSError, http.client.HTTPException):
            return 0, 0.1
        finally:
            connection.close()


def events(seconds):
    """What happens when. No replica is killed in the minute before the store is lost: only its own leases could show what it
    has just sent, and they die with it (docs/redis.md)."""
    at = [(float(second), "kill") for second in range(KILL_EVERY_S, int(seconds * 0.3), KILL_EVERY_S)]
    at += [(seconds * 0.6, "flush"), (seconds * 0.82, "failover")]
    at += [(float(second), "kill") for second in range(int(seconds * 0.87), int(seconds) - 3, KILL_EVERY_S)]
    return at


def run_events(replicas, redis, seconds):
    began, done, victims = time.monotonic(), [], 0
    for at, kind in events(seconds):
        time.sleep(max(0, began + at - time.monotonic()))
        done.append({"at": round(time.monotonic() - began, 1), "kind": kind})
        if kind == "kill":
            replicas[victims % len(replicas)].restart()
            victims += 1
        elif kind == "flush":
            redis.flush()
        else:
            redis.fail_over()
    return done


def trial(adapter, binary, seconds):
    """Runs one gateway and returns what the provider and the callers saw."""
    with ExitStack() as stack:
        provider = Provider(stack, binary, MODEL, LIMIT, JITTER_MS)
        redis = Redis(stack)
        values = {"binary": binary, "limit": LIMIT, "model": MODEL, "provider_url": provider.url,
                  "provider_key": provider.key, "redis_host": "127.0.0.1", "redis_port": redis.nodes[0],
                  "sentinels": ",".join(f"127.0.0.1:{port}" for port in redis.sentinels),
                  "sentinel_nodes": json.dumps([["127.0.0.1", port] for port in redis.sentinels])}
        replicas = [Replica(stack, adapter, values) for _ in range(REPLICAS)]
        for replica in replicas:
            until(f"{adapter['name']} is ready", replica.is_ready)
        crowd = Crowd({**adapter, "model": fill(adapter["model"], values)}, replicas, seconds)
        crowd.start()
        done = run_events(replicas, redis, seconds)
        crowd.join()
        return evaluate(adapter["name"], provider.calls(), crowd, done, seconds)


def worst_window(arrivals, seconds):
    """The most calls in any trailing window that ends in each second."""
    worst, window = [0] * (int(seconds) + 1), collections.deque()
    for at in arrivals:
        window.append(at)
        while window[0] <= at - SPAN_S:
            window.popleft()
        second = min(int(at), len(worst) - 1)
        worst[second] = max(worst[second], len(window))
    # Between calls a window only shrinks: its size at the beginning of the second.
    for second in range(len(worst)):
        still = sum(second - SPAN_S < at <= second for at in arrivals)
        worst[second] = max(worst[second], still)
    return worst


def evaluate(name, calls, crowd, done, seconds):
    # The provider's clock is that of this machine.
    arrivals = [call["time_ms"] / 1000 - crowd.began for call in calls]
    refused = sum(call["refused_by"] is not None for call in calls)
    by_second = worst_window(arrivals, seconds)
    capacity = LIMIT * (int(seconds) // SPAN_S + 1)
    statuses = collections.Counter(status for _, status in crowd.responses)
    late = collections.Counter(int(at) for at, status in crowd.responses if status not in (200, 0))
    in_time = sum(call["refused_by"] is None and at <= seconds for call, at in zip(calls, arrivals))
    used = in_time / capacity
    return {
        "name": name, "limit": LIMIT, "seconds": seconds, "calls": len(calls), "refused_by_provider": refused,
        "worst_window": max(by_second), "worst_window_by_second": by_second, "used": round(used, 4), "capacity": capacity,
        "responses": {str(status): count for status, count in sorted(statuses.items())},
        "refused_to_callers_by_second": [late.get(second, 0) for second in range(int(seconds) + 1)],
        "events": done, "held": max(by_second) <= LIMIT and refused == 0,
    }


def output(*command):
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROOF)
    return found.stdout.strip()


def machine():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    cpu = next(models, platform.processor() or platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the program tollfree, which also simulates the provider")
    parser.add_argument("--out", required=True, type=Path, help="folder of the page")
    parser.add_argument("--seconds", type=float, default=230, help="length of the trial of each gateway (230)")
    parser.add_argument("--adapter", action="append", type=Path, default=[], help="another gateway; may be repeated")
    parser.add_argument("--only", action="store_true", help="without Tollfree itself")
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.binary)
    ours = [] if arguments.only else [PROOF / "adapters/tollfree.toml"]
    results = []
    for path in [*ours, *arguments.adapter]:
        adapter = tomllib.loads(path.read_text())
        print(f"proof: {adapter['name']}, {arguments.seconds:.0f} s", flush=True)
        result = trial(adapter, binary, arguments.seconds)
        print(f"proof: {page.summary(result)}", flush=True)
        results.append(result)
    commit = output("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    if output("git", "status", "--porcelain", "--untracked-files=no"):
        commit += ", with changes"
    about = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "machine": machine(), "commit": commit,
             "redis": output("redis-server", "--version").split("v=")[-1].split()[0], "replicas": REPLICAS, "callers": CALLERS,
             "jitter_ms": JITTER_MS}
    page.write(arguments.out, about, results)
    wrong = [result["name"] for result in results if not result["held"] or result["used"] < LEAST_USED]
    if wrong:
        raise SystemExit(f"proof: not held, or less than {LEAST_USED:.0%} used: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
