"""The tools that are tried: where each is, and how it is given the task."""

import dataclasses
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
NPM, NODE = HERE / "node_modules/.bin", HERE / ".venv/node/node_modules/.bin"


@dataclasses.dataclass
class Tool:
    name: str
    program: pathlib.Path
    # The arguments before the task.
    arguments: list
    # Which calls the provider refuses in the second trial.
    refused: int = 3


TOOLS = {
    # Its sandbox needs rights that containers do not have.
    "codex": Tool("Codex", NPM / "codex", ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]),
    "claude-code": Tool(
        "Claude Code", NPM / "claude", ["--allowedTools", "Write,Edit,Read,Bash", "--permission-mode", "acceptEdits", "-p"]
    ),
    "opencode": Tool("opencode", NODE / "opencode", ["run"]),
    "continue": Tool("Continue", NODE / "cn", ["--auto", "-p"]),
    "qwen-code": Tool("Qwen Code", NODE / "qwen", ["--yolo", "-p"]),
    "llm": Tool("llm", HERE / ".venv/llm/bin/llm", ["--functions", HERE / "functions.py", "--chain-limit", "20"]),
    "aider": Tool(
        "aider",
        HERE / ".venv/aider/bin/aider",
        [
            "--no-check-update", "--analytics-disable", "--yes-always", "--no-git", "--no-pretty",
            "--test-cmd", "python3 answer.py | grep --line-regexp 42", "--auto-test", "--message",
        ],
        # It makes two calls.
        refused=2,
    ),
}
# None of them may look for updates while it is tried.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
}
