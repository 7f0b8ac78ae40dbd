"""What `llm` may call in its trial, in the working folder: `llm --functions functions.py`."""

import pathlib
import subprocess
import sys


def write_program(text: str) -> str:
    """Writes the program answer.py."""
    pathlib.Path("answer.py").write_text(text)
    return "written"


def run_program() -> str:
    """Runs the program answer.py, and returns what it prints."""
    return subprocess.run([sys.executable, "answer.py"], capture_output=True, text=True).stdout
