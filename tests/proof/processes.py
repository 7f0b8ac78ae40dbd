"""The processes of a trial: Redis behind Sentinel, a simulated provider, and the replicas of a gateway."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

PROOF = Path(__file__).resolve().parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition, seconds=60.0):
    """Polls a condition until it returns something."""
    seconds *= float(os.environ.get("TEST_TIME_SCALE", "1"))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise SystemExit(f"proof: not within {seconds:.0f} s: {what}")


def get(url, timeout=10):
    """Status and body; status 0 without a response."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


class Process:
    """A child with a folder and a log of its own, which ends with the trial."""

    def __init__(self, command, env=None):
        self.folder = Path(tempfile.mkdtemp(prefix="proof-"))
        self.log = self.folder / "log"
        self.command, self.env = command, env or {}
        self.child = None

    def start(self):
        with self.log.open("ab") as log:
            env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C", **self.env}
            self.child = subprocess.Popen(self.command, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, start_new_session=True)

    def kill(self):
        """SIGKILL, to its own children, too."""
        if self.child and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def must_run(self):
        if self.child.poll() is not None:
            raise SystemExit(f"proof: {self.command[0]} ended:\n{self.log.read_text(errors='replace')[-4000:]}")


class Provider:
    """One simulated model with one limit, which it enforces, and with jitter on the way to it."""

    ID = "mistral"

    def __init__(self, stack, binary, model, limit, jitter_ms):
        own = {"limits": {"rpm": limit, "rpd": "none", "tpm": "none", "tpd": "none"}, "window": "sliding"}
        latency = {"first_ms": 20, "chunk_ms": 1, "reasoning_tokens": 0}
        profile = {"log": 1_000_000, "providers": {self.ID: {"jitter_ms": jitter_ms, "latency": latency, "models": {model: own}}}}
        self.process = Process([binary, "demo", "--providers-only", "--port", "0", "--profile", json.dumps(profile)])
        stack.callback(self.process.kill)
        self.process.start()
        ready = until("the provider listens", self._ready)
        self.url, self.key = ready["providers"][self.ID]["base_url"], ready["providers"][self.ID]["keys"][0]
        self.control = ready["control"]

    def _ready(self):
        self.process.must_run()
        for line in self.process.log.read_text().splitlines():
            if line.startswith("{") and "providers" in (found := json.loads(line)):
                return found
        return None

    def calls(self):
        """Every call in order of arrival."""
        status, body = get(f"{self.control}/_audit/log?provider={self.ID}")
        assert status == 200, status
        return json.loads(body)["calls"]


class Redis:
    """A primary with two replicas, and three Sentinels that replace it: docs/redis.md."""

    IN_SYNC = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2", "--repl-diskless-sync-delay", "0"]

    def __init__(self, stack):
        self.stack = stack
        self.nodes = [self._server(self.IN_SYNC)]
        primary = str(self.nodes[0])
        self.nodes += [self._server([*self.IN_SYNC, "--replicaof", "127.0.0.1", primary]) for _ in range(2)]
        in_sync = "min_slaves_good_slaves:2"
        until("both replicas are in sync", lambda: in_sync in self.query(self.nodes[0], "INFO", "replication"))
        settings = (f"sentinel monitor mymaster 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds mymaster 1000\n"
                    "sentinel failover-timeout mymaster 5000\n")
        self.sentinels = [self._server(["--sentinel"], settings) for _ in range(3)]
        for port in self.sentinels:
            known = lambda words, port=port: words in self.query(port, "SENTINEL", "master", "mymaster")
            until("the Sentinels know each other", lambda: known("num-other-sentinels\n2") and known("num-slaves\n2"))

    def _server(self, arguments, file=None):
        port = free_port()
        process = Process([])
        if file:
            (process.folder / "redis.conf").write_text(file)
        process.command = ["redis-server", *(["./redis.conf"] if file else []), "--port", str(port), "--bind", "127.0.0.1",
                           "--save", "", *arguments]
        self.stack.callback(process.kill)
        process.start()
        self.processes = {**getattr(self, "processes", {}), port: process}
        until("redis-server replies", lambda: self.query(port, "PING") == "PONG")
        return port

    @staticmethod
    def query(port, *words):
        found = subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=False)
        return found.stdout.strip()

    def primary(self):
        return next((port for port in self.nodes if "role:master" in self.query(port, "INFO", "replication")), None)

    def flush(self):
        self.query(self.primary(), "FLUSHALL")

    def fail_over(self):
        """Kills the primary. Sentinel promotes another node."""
        self.processes[self.primary()].kill()


class Replica:
    """One replica of a gateway, as its adapter starts it."""

    def __init__(self, stack, adapter, values):
        self.port = free_port()
        self.process = Process([])
        folder = self.process.folder
        config = folder / adapter.get("config_name", "config")
        values = {**values, "port": self.port, "folder": folder, "config": config, "python": sys.executable, "proof": PROOF}
        config.write_text(fill(adapter.get("config", ""), values))
        self.process.command = [fill(part, values) for part in adapter["command"]]
        self.process.env = {name: fill(value, values) for name, value in adapter.get("env", {}).items()}
        self.ready = f"http://127.0.0.1:{self.port}{adapter['ready']}"
        stack.callback(self.process.kill)
        self.process.start()

    def is_ready(self):
        self.process.must_run()
        return get(self.ready, 2)[0] // 100 == 2

    def restart(self):
        self.process.kill()
        self.process.start()


def fill(text, values):
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text
