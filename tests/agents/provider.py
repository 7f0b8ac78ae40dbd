"""A scripted provider: an OpenAI-compatible server that plays a model which works on one task. Usage: provider.py PORT LOG [NTH]

Every request with tools is answered with the next step of the task, counted by the tool results in the conversation since the task
was given. aider has no tools: its files are in the text. Any other request is answered with a short text. With NTH every call of this number, such as every third, is refused with 429 and a time of one second. Each call
is a line of LOG: its status and the step.
"""

import http.server
import json
import sys
import threading

PORT, LOG, NTH = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
WRONG, RIGHT = "print(6 * 6)", "print(6 * 7)"
lock, calls = threading.Lock(), [0]


def patch(*lines):
    return {"input": "\n".join(["*** Begin Patch", *lines, "*** End Patch"]) + "\n"}


def steps(write, path, text, run, edit=None, names=None):
    """Writes a file, runs it, sees that it is wrong, mends it, and runs it again, with tools of these names and parameters."""
    place = {path: "{cwd}/answer.py"} if path else {}
    first, second = (write, {**place, text: WRONG + "\n"}), (write, {**place, text: RIGHT + "\n"})
    if edit:
        second = (edit, dict(zip(names, ["{cwd}/answer.py", WRONG, RIGHT])))
    return [first, run, second, run]


# What each agent calls its tools: the name of the first, and its first required parameter.
SNAKE, CAMEL = ("file_path", "old_string", "new_string"), ("filePath", "oldString", "newString")
RUN = {"command": "python3 answer.py"}
DESCRIBED = {**RUN, "description": "Runs the program"}
STEPS = {
    # Codex
    ("apply_patch", "input"): [
        ("apply_patch", patch("*** Add File: answer.py", f"+{WRONG}")),
        ("exec_command", {"cmd": "python3 answer.py"}),
        ("apply_patch", patch("*** Update File: answer.py", "@@", f"-{WRONG}", f"+{RIGHT}")),
        ("exec_command", {"cmd": "python3 answer.py"}),
    ],
    # Claude Code, Continue, Qwen Code, opencode
    ("Write", "file_path"): steps("Write", "file_path", "content", ("Bash", DESCRIBED), "Edit", SNAKE),
    # Continue edits only files that it has read.
    ("Write", "filepath"): steps("Write", "filepath", "content", ("Bash", RUN)),
    ("write_file", "file_path"): steps(
        "write_file", "file_path", "content", ("run_shell_command", {**DESCRIBED, "is_background": False}), "edit", SNAKE
    ),
    ("write", "filePath"): steps("write", "filePath", "content", ("bash", DESCRIBED), "edit", CAMEL),
    # llm, with the functions of functions.py
    ("write_program", "text"): steps("write_program", None, "text", ("run_program", {})),
}
END = "The program prints 42 now."


def folder(text):
    """The working folder, as the task names it."""
    return text.split("The folder is ", 1)[1].split(" .", 1)[0] if "The folder is " in text else ""


def reply(request):
    """The step, and the message that answers the request."""
    system = str(request["messages"][0]["content"])
    if "*file listing*" in system:
        return listing(request["messages"])
    tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in request.get("tools", [])}
    kind = next((kind for kind in STEPS if kind[1] in tools.get(kind[0], {}).get("properties", {})), None)
    # Qwen Code sends the conversation to others of its kind, too, which would begin again.
    if kind is None or "subagent" in system[:200]:
        return "aside", {"content": "Fine."}
    step = sum(message["role"] == "tool" for message in request["messages"])
    if step >= len(STEPS[kind]):
        return "end", {"content": END}
    name, arguments = STEPS[kind][step]
    text = json.dumps(arguments).replace("{cwd}", folder(json.dumps(request["messages"])))
    call = {"index": 0, "id": f"call_{step}", "type": "function", "function": {"name": name, "arguments": text}}
    return str(step), {"content": f"Step {step}.", "tool_calls": [call]}


def listing(messages):
    """aider takes files from the text, and runs the program itself: what it printed is in the next request."""
    step = sum(message["role"] == "assistant" and "print(6" in str(message["content"]) for message in messages)
    return str(step), {"content": f"answer.py\n```\n{RIGHT if step else WRONG}\n```\n"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, content_type="application/json", **headers):
        self.send_response(status)
        for name, value in {"content-type": content_type, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode())

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with lock:
            calls[0] += 1
            refuses = NTH > 0 and calls[0] % NTH == 0
        step, message = ("refused", None) if refuses else reply(request)
        with lock, open(LOG, "a") as log:
            print(429 if refuses else 200, step, file=log)
        if refuses:
            error = {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
            return self.answer(429, json.dumps(error).encode(), **{"retry-after": "1"})
        reason = "tool_calls" if "tool_calls" in message else "stop"
        usage = {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}
        head = {"id": "c", "created": 1, "model": "m"}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return self.answer(200, json.dumps(whole).encode())
        end = {"index": 0, "delta": {}, "finish_reason": reason}
        chunks = [[{"index": 0, "delta": message, "finish_reason": None}], [end]]
        lines = [{**head, "object": "chat.completion.chunk", "choices": choices} for choices in chunks]
        lines.append({**lines[0], "choices": [], "usage": usage})
        body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self.answer(200, body.encode(), "text/event-stream")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
