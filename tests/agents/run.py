"""The real coding agents and other tools, headless, on one small task, against a gateway with a scripted provider.

Usage: run.py GATEWAY_BINARY [TOOL ...], after the packages are installed as in the Makefile. Each tool works twice: once after `tollfree setup`, and once
started by `tollfree launch` while every third (aider: second) call to the provider is refused with 429. It passes if the program that it wrote prints 42,
no request failed at the gateway, and the tool spoke of no limit.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import tools

HERE = pathlib.Path(__file__).resolve().parent
BINARY = pathlib.Path(sys.argv[1]).resolve()
ADMIN_KEY = "the-admin-key-of-the-trials"
TASK = (
    "Write a program answer.py that prints 6 times 7. Run it, and if it prints anything but 42, mend it and run it again. "
    "The folder is {folder} ."
)
LIMIT_S = 180
# What a tool shows of a refusal, in whichever protocol it came.
SPEAKS_OF_A_LIMIT = re.compile(r"\b429\b|rate.?limit|too many requests|response\.failed|overloaded", re.IGNORECASE)
# A tool may give up a request of its own accord.
FINE = (200, 499)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home, **more):
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    return {**kept, "HOME": str(home), **more}


def gateway(folder, provider_port, port):
    """A gateway whose only model is the scripted one. Requests wait for up to a minute."""
    url = f"http://127.0.0.1:{provider_port}/v1"
    models = 'context = 200000\ncapabilities = ["tools"]\n'
    (folder / "tollfree.toml").write_text(
        f'[queue]\nmax_wait_ms = 60000\n[providers.lab]\nbase_url = "{url}"\nauth = "none"\n[providers.lab.models.m]\n{models}'
    )
    env = environment(folder, PORT=str(port), TOLLFREE_DATA_DIR=str(folder / "data"), OLLAMA_BASE_URL="http://127.0.0.1:1/v1")
    env["TOLLFREE_ADMIN_KEY"] = ADMIN_KEY
    log = open(folder / "gateway.log", "w")
    process = subprocess.Popen([BINARY, "serve"], cwd=folder, env=env, stdout=log, stderr=log)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
            return process
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the gateway did not start:\n" + (folder / "gateway.log").read_text())


def client_key(folder):
    """A key of a client, so that the gateway refuses callers without one."""
    env = environment(folder, TOLLFREE_DATA_DIR=str(folder / "data"))
    made = subprocess.run([BINARY, "keys", "create", "ann", "--json"], cwd=folder, env=env, check=True, capture_output=True)
    return json.loads(made.stdout)["key"]


def failed_requests(port):
    """The requests of the gateway's journal that did not succeed, and how many there are in all."""
    url = f"http://127.0.0.1:{port}/admin/v1/requests?limit=200"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {ADMIN_KEY}"})
    records = json.load(urllib.request.urlopen(request))["data"]
    return [record for record in records if record["status"] not in FINE], len(records)


def set_up(tool, env, given):
    """Configures a tool as a person does. What starts it then needs no key in its environment."""
    for command in (["setup", tool], ["doctor", tool, "--idle", "0"]):
        subprocess.run([BINARY, *command], cwd=env["HOME"], env=given, check=True, stdout=subprocess.DEVNULL)


def holds(folder, key):
    """Whether a file below the folder has the key in it."""
    return any(path.is_file() and key.encode() in path.read_bytes() for path in folder.rglob("*"))


def trial(tool, launched):
    chosen = tools.TOOLS[tool]
    what = f"{chosen.name}, {f'launched, every {chosen.refused}. call refused' if launched else 'set up'}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        work, home = folder / "work", folder / "home"
        work.mkdir()
        home.mkdir()
        provider_port, port, calls = free_port(), free_port(), folder / "calls.log"
        calls.touch()
        script = [sys.executable, HERE / "provider.py", str(provider_port), calls, *([str(chosen.refused)] if launched else [])]
        provider = subprocess.Popen(script)
        key = client_key(folder)
        server = gateway(folder, provider_port, port)
        start = time.monotonic()
        failed, count = [], 0
        try:
            env = environment(home, **tools.QUIET)
            given = {**env, "TOLLFREE_CLIENT_KEY": key, "TOLLFREE_URL": f"http://127.0.0.1:{port}"}
            command = [chosen.program, *chosen.arguments, TASK.format(folder=work)]
            if launched:
                env = {**given, "PATH": f"{chosen.program.parent}:{given['PATH']}"}
                command = [BINARY, "launch", tool, "--", *command[1:]]
            else:
                set_up(tool, env, given)
            ended = subprocess.run(
                command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
            )
            output = ended.stdout + ended.stderr
            failed, count = failed_requests(port)
        except subprocess.TimeoutExpired as late:
            output = f"not done within {LIMIT_S} s: {late.stdout!r} {late.stderr!r}"
        finally:
            server.terminate()
            server.wait()
            provider.kill()
        program = work / "answer.py"
        printed = ""
        if program.exists():
            printed = subprocess.run([sys.executable, program], capture_output=True, text=True).stdout.strip()
        log = (folder / "gateway.log").read_text()
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        refused = [line for line in lines if line.get("http.response.status_code") == 429]
        refusals = calls.read_text().count("429 refused")
        faults = {
            f"it printed {printed!r}": printed != "42",
            f"{len(refused)} responses of the gateway were 429": refused,
            f"{len(failed)} of {count} requests of the journal failed": failed or not count,
            "its output speaks of a limit": SPEAKS_OF_A_LIMIT.search(output),
            f"the provider refused {refusals} calls": (refusals > 0) != launched,
            "the key is on disk": launched and holds(home, key),
        }
        if any(faults.values()):
            print(output[-6000:], "\n--- calls\n", calls.read_text(), "\n--- gateway\n", log[-6000:], "\n", failed, sep="")
            raise SystemExit(f"{what}: {'; '.join(fault for fault, is_so in faults.items() if is_so)}")
        took_s = time.monotonic() - start
        print(f"{what}: ok, {took_s:.0f} s, {count} requests, {refusals} refusals of the provider waited for", flush=True)


for name in sys.argv[2:] or tools.TOOLS:
    for is_launched in (False, True):
        trial(name, is_launched)
print("all tools did their task")
