"""What the loops of the Python libraries share: the question, the tool's results and the report.

A loop is two turns with a tool, or as many as TURNS says: question, call, result, answer; and once more. Each program prints a line of JSON per model and form, with
the tokens that its library has counted over the requests of the loop.
"""

import json
import os
import sys

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
QUESTIONS = ["What is the weather in Paris?"] + ["And tomorrow?"] * (int(os.environ.get("TURNS", 2)) - 1)
# The only form to try, where one is set: `whole` or `streamed`.
FORM_WANTED = os.environ.get("FORM")
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": PARAMETERS},
}


def weather(turn):
    return f"{20 + turn} degrees"


def check_answer(text, turn):
    assert weather(turn) in (text or ""), f"no result of the tool in the answer: {text!r}"


def report(model, stream, usages):
    """`usages`: input and output tokens of each request."""
    assert usages, "the library has counted nothing"
    line = {"model": model, "stream": stream, "input": sum(u[0] for u in usages), "output": sum(u[1] for u in usages)}
    print(json.dumps(line), flush=True)


def run(loop, forms=(False, True)):
    for model in MODELS:
        for stream in forms:
            if FORM_WANTED not in (None, "streamed" if stream else "whole"):
                continue
            try:
                loop(model, stream)
            except BaseException as error:
                print(f"{model}, {'streamed' if stream else 'whole'}: {error!r}", flush=True)
                raise
    print("all loops passed", flush=True)
