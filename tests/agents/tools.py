"""The tools that only answer, after `tollfree setup`: one question each, against the same gateway and scripted provider."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NODE = HERE / ".venv/node/node_modules/.bin"
# What the scripted provider answers where it is given no task with tools.
ANSWER = "Fine."
LIMIT_S = 180

TOOLS = {
    "opencode": [NODE / "opencode", "run", "Hello"],
    "continue": [NODE / "cn", "-p", "Hello"],
    "llm": [HERE / ".venv/llm/bin/llm", "Hello"],
    "aider": [
        HERE / ".venv/aider/bin/aider", "--no-check-update", "--analytics-disable", "--yes-always", "--no-git", "--no-pretty", "--message", "Hello",
    ],
}


def trial(name, folder, env):
    """Runs a tool that was set up in `env`'s home folder. Its answer must be the provider's."""
    work = folder / f"work-{name}"
    work.mkdir()
    ended = subprocess.run(TOOLS[name], cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    output = ended.stdout + ended.stderr
    if ANSWER not in output:
        print(output[-6000:])
        raise SystemExit(f"{name}: no answer, exit code {ended.returncode}")
    print(f"{name}: ok", flush=True)
