"""Writes the JSON schemas of what the official SDKs read, from their own pydantic models: the events and objects that a
gateway sends. The property tests of the encoders check against them.

    .venv/bin/python tests/sdk/schemas.py     after a change of the SDKs in requirements.txt
"""

import json
from pathlib import Path

import anthropic
import openai
from anthropic.types import ErrorResponse, Message, RawMessageStreamEvent
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

HERE = Path(__file__).parent
# What does not decide whether a value fits.
DROPPED = {"title", "description", "default", "discriminator", "format", "examples"}


def plain(schema, is_names=False):
    """The schema without words for people. Below `properties` and `$defs` every key is a name."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: plain(value, key in ("properties", "$defs") and not is_names)
        for key, value in schema.items()
        if is_names or key not in DROPPED
    }


def write(name, version, **roots):
    definitions = {}
    for root, kind in roots.items():
        schema = plain(TypeAdapter(kind).json_schema())
        definitions |= schema.pop("$defs", {})
        definitions[root] = schema
    comment = f"Made by tests/sdk/schemas.py from the models of the Python package {name} {version}."
    lines = [f"{json.dumps(key)}: {json.dumps(definitions[key], sort_keys=True)}" for key in sorted(definitions)]
    text = f'{{"$comment": {json.dumps(comment)}, "$defs": {{\n' + ",\n".join(lines) + "\n}}"
    (HERE / f"{name}.schema.json").write_text(text + "\n")
    print(name, len(definitions), "definitions", len(text), "bytes")


write("anthropic", anthropic.__version__, event=RawMessageStreamEvent, message=Message, error=ErrorResponse)
write("openai", openai.__version__, event=ResponseStreamEvent, response=Response)
