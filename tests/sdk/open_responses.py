"""The templates of the Open Responses compliance suite, rebuilt from its published schema. Usage: open_responses.py BASE_URL MODEL

Each template posts one request and holds the answer, or every event of the stream, to responses.schema.json.
Prints a line per template; the first failure ends it with a traceback.
"""

import json
import pathlib
import sys

import jsonschema
import requests

BASE_URL, MODEL = sys.argv[1:]
SCHEMA = json.loads(pathlib.Path(__file__).with_name("responses.schema.json").read_text())
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Returns the weather at a place",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


def holds(definition, value):
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": SCHEMA["$defs"]}).validate(value)


def message(role, content, **more):
    return {"type": "message", "role": role, "content": content, **more}


def post(body, path="/responses"):
    headers = {"authorization": "Bearer anything"}
    return requests.post(BASE_URL + path, json={"model": MODEL, **body}, headers=headers, timeout=60)


def completed(body):
    answer = post(body)
    assert answer.status_code == 200, answer.text
    response = answer.json()
    holds("response", response)
    assert response["status"] == "completed" and response["output"], response
    return response


def streamed(body):
    answer = post({**body, "stream": True})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    for event in events:
        holds("event", event)
    assert events[-1]["type"] == "response.completed", events[-1]
    holds("response", events[-1]["response"])
    return events


def basic():
    completed({"input": [message("user", "Greet me in three words.")]})


def streaming():
    streamed({"input": [message("user", "Count to five.")]})


def system_prompt():
    completed({"input": [message("system", "Speak like a pirate."), message("user", "Greet me.")]})


def tool_calling():
    body = {"input": [message("user", "What is the weather in San Francisco?")], "tools": [TOOL]}
    assert any(item["type"] == "function_call" for item in completed(body)["output"])
    events = streamed(body)
    kinds = [event["type"] for event in events]
    assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds, kinds
    for kind in ("response.output_item.added", "response.output_item.done"):
        assert any(e["type"] == kind and e["item"]["type"] == "function_call" for e in events), kinds


def image_input():
    content = [{"type": "input_text", "text": "What is in this image?"}, {"type": "input_image", "image_url": IMAGE}]
    completed({"input": [message("user", content)]})


def multi_turn():
    history = [message("user", "My name is Alice."), message("assistant", "Hello Alice!")]
    completed({"input": [*history, message("user", "What is my name?")]})


def phased(phase, text):
    return message("assistant", [{"type": "output_text", "text": text, "annotations": []}], phase=phase)


def assistant_phase():
    plain = [message("assistant", "I should answer with the number.", phase="commentary")]
    plain.append(message("assistant", "The number is four.", phase="final_answer"))
    parts = [phased("commentary", "I should answer with the number."), phased("final_answer", "The number is four.")]
    for history in [plain, parts]:
        response = completed({"input": [*history, message("user", "Repeat only the number.")]})
        items = requests.get(f"{BASE_URL}/responses/{response['id']}/input_items", params={"order": "asc"}, timeout=60).json()
        phases = [item.get("phase") for item in items["data"]]
        assert phases == ["commentary", "final_answer", None], items


def output_phase_schema():
    """The schema to which the other templates hold every answer knows the phases, and no others."""
    response = completed({"input": [message("user", "Answer in one word.")]})
    item = next(item for item in response["output"] if item["type"] == "message")
    for phase in ("commentary", "final_answer"):
        holds("response", {**response, "output": [{**item, "phase": phase}]})
    try:
        holds("response", {**response, "output": [{**item, "phase": "afterthought"}]})
    except jsonschema.ValidationError:
        return
    raise AssertionError("the schema takes any phase")


def compact():
    answer = post({"input": [message("user", "My name is Alice."), message("assistant", "Hello!")]}, "/responses/compact")
    assert answer.status_code == 200, answer.text
    holds("compacted", answer.json())
    completed({"input": [*answer.json()["output"], message("user", "What is my name?")]})


def compact_missing_model():
    answer = post({"model": None, "input": [message("user", "hello")]}, "/responses/compact")
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["type"] == "invalid_request_error" and error["param"] == "model", answer.text


TEMPLATES = [
    basic, streaming, system_prompt, tool_calling, image_input, multi_turn, assistant_phase, output_phase_schema, compact,
    compact_missing_model,
]
for template in TEMPLATES:
    template()
    print(f"open responses: {template.__name__} ok", flush=True)
print("all checks passed", flush=True)
