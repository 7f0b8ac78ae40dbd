"""A scripted provider: an OpenAI-compatible server that plays a model which works on one task. Usage: provider.py PORT LOG [THIRD]

Every request with tools is answered with the next step of the task, counted by the tool results in the conversation since the task
was given; any other request with a short text. With THIRD every third call is refused with 429 and a time of one second. Each call
is a line of LOG: its status and the step.
"""

import http.server
import json
import sys
import threading

PORT, LOG, THIRD = int(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
WRONG, RIGHT = "print(6 * 6)", "print(6 * 7)"
lock, calls = threading.Lock(), [0]


def patch(*lines):
    return {"input": "\n".join(["*** Begin Patch", *lines, "*** End Patch"]) + "\n"}


# What each agent calls its tools, and the steps: write a file, run it, see that it is wrong, mend it, run it again.
STEPS = {
    "apply_patch": [
        ("apply_patch", patch("*** Add File: answer.py", f"+{WRONG}")),
        ("exec_command", {"cmd": "python3 answer.py"}),
        ("apply_patch", patch("*** Update File: answer.py", "@@", f"-{WRONG}", f"+{RIGHT}")),
        ("exec_command", {"cmd": "python3 answer.py"}),
    ],
    "Write": [
        ("Write", {"file_path": "{cwd}/answer.py", "content": WRONG + "\n"}),
        ("Bash", {"command": "python3 answer.py", "description": "Runs the program"}),
        ("Edit", {"file_path": "{cwd}/answer.py", "old_string": WRONG, "new_string": RIGHT}),
        ("Bash", {"command": "python3 answer.py", "description": "Runs the program"}),
    ],
}


def folder(text):
    """The working folder, as the task names it."""
    return text.split("The folder is ", 1)[1].split(" .", 1)[0] if "The folder is " in text else ""


def reply(request):
    """The step, and the message that answers the request."""
    names = [tool["function"]["name"] for tool in request.get("tools", [])]
    kind = next((kind for kind in STEPS if kind in names), None)
    if kind is None:
        return "aside", {"content": "Fine."}
    step = sum(message["role"] == "tool" for message in request["messages"])
    if step >= len(STEPS[kind]):
        return "end", {"content": "The program prints 42 now."}
    name, arguments = STEPS[kind][step]
    text = json.dumps(arguments).replace("{cwd}", folder(json.dumps(request["messages"])))
    call = {"index": 0, "id": f"call_{step}", "type": "function", "function": {"name": name, "arguments": text}}
    return str(step), {"content": f"Step {step}.", "tool_calls": [call]}


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
            refuses = THIRD and calls[0] % 3 == 0
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
