"""The real Claude Code and Codex, headless, on one small task with tools, against a gateway with a scripted provider; and other tools on
one question. All of them are configured by `tollfree setup` alone.

Usage: run.py GATEWAY_BINARY, after `npm ci` in this folder and the two environments of Python that the Makefile makes. Each agent works
twice: once plainly, and once while every third call to the provider is refused with 429. It passes if the program that it wrote prints 42
and the gateway has sent no 429.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import tools

HERE = pathlib.Path(__file__).resolve().parent
BINARY = pathlib.Path(sys.argv[1]).resolve()
BIN = HERE / "node_modules" / ".bin"
TASK = (
    "Write a program answer.py that prints 6 times 7. Run it, and if it prints anything but 42, mend it and run it again. "
    "The folder is {folder} ."
)
LIMIT_S = 180


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


def set_up(tool, folder, port, key):
    """Configures a tool as a person does, in a home folder of its own. Returns its environment, which has no key."""
    home = folder / f"home-{tool}"
    home.mkdir()
    env = environment(home)
    given = {**env, "TOLLFREE_CLIENT_KEY": key, "TOLLFREE_URL": f"http://127.0.0.1:{port}"}
    subprocess.run([BINARY, "setup", tool], cwd=home, env=given, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([BINARY, "doctor", tool, "--idle", "0"], cwd=home, env=given, check=True, stdout=subprocess.DEVNULL)
    return env


def codex(work):
    # The sandbox needs rights that containers do not have.
    free = "--dangerously-bypass-approvals-and-sandbox"
    return [BIN / "codex", "exec", "--skip-git-repo-check", free, TASK.format(folder=work)]


def claude_code(work):
    allowed = "Write,Edit,Read,Bash"
    return [BIN / "claude", "-p", TASK.format(folder=work), "--allowedTools", allowed, "--permission-mode", "acceptEdits"]


# Neither may look for updates while it is tried.
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}


def trial(name, tool, agent, third):
    what = f"{name}, {'every third call refused' if third else 'plain'}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        work = folder / "work"
        work.mkdir()
        provider_port, port, calls = free_port(), free_port(), folder / "calls.log"
        calls.touch()
        script = [sys.executable, HERE / "provider.py", str(provider_port), calls, *(["third"] if third else [])]
        provider = subprocess.Popen(script)
        key = client_key(folder)
        server = gateway(folder, provider_port, port)
        start = time.monotonic()
        try:
            env = {**set_up(tool, folder, port, key), **QUIET}
            ended = subprocess.run(
                agent(work), cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
            )
            output = ended.stdout + ended.stderr
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
        good = printed == "42" and not refused and (refusals > 0) == third
        if not good:
            print(output[-6000:], "\n--- calls\n", calls.read_text(), "\n--- gateway\n", log[-6000:], sep="")
            raise SystemExit(f"{what}: printed {printed!r}, {len(refused)} times 429 from the gateway, {refusals} from the provider")
        print(f"{what}: ok, {time.monotonic() - start:.0f} s, {refusals} refusals of the provider waited for", flush=True)


def answers():
    """Every other tool on one question, at one gateway."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        provider_port, port, calls = free_port(), free_port(), folder / "calls.log"
        calls.touch()
        provider = subprocess.Popen([sys.executable, HERE / "provider.py", str(provider_port), calls])
        key = client_key(folder)
        server = gateway(folder, provider_port, port)
        try:
            for tool in tools.TOOLS:
                tools.trial(tool, folder, set_up(tool, folder, port, key))
        finally:
            server.terminate()
            server.wait()
            provider.kill()


for agent_name, agent_tool, agent_command in (("Codex", "codex", codex), ("Claude Code", "claude-code", claude_code)):
    for every_third in (False, True):
        trial(agent_name, agent_tool, agent_command, every_third)
answers()
print("all tools did their task")
