"""Holds an OpenAPI document to the standard, its examples to its schemas, and real answers to both.

Usage: openapi.py DOCUMENT.json CASES.json; CASES.json is a list of {"what", "schema", "value"}.
"""

import json
import sys

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

document, cases = (json.load(open(path)) for path in sys.argv[1:])
found = OpenAPIV31SpecValidator(document).iter_errors()
mistakes = [f"the document: {'/'.join(map(str, error.path))}: {error.message}" for error in found]


def examples(node, where):
    """Every example beside a schema, wherever it stands."""
    if isinstance(node, list):
        for i, each in enumerate(node):
            yield from examples(each, f"{where}/{i}")
    elif isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            if "example" in node:
                yield {"what": where, "schema": node["schema"], "value": node["example"]}
            for name, each in node.get("examples", {}).items():
                yield {"what": f"{where}/{name}", "schema": node["schema"], "value": each["value"]}
        for name, each in node.items():
            if name not in ("example", "examples"):
                yield from examples(each, f"{where}/{name}")


def exact(node, own=True):
    """The same schema, but without additional properties: a response must contain nothing that the document does not describe."""
    if isinstance(node, list):
        return [exact(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "allOf" in node:
        # Each part may hold what the others name; together they name everything.
        parts = [document["components"]["schemas"][p["$ref"].split("/")[-1]] if "$ref" in p else p for p in node["allOf"]]
        together = {**node, "allOf": [exact(part, own=False) for part in parts]}
        return {**together, "unevaluatedProperties": False} if own else together
    strict = {name: exact(each) for name, each in node.items()}
    if own and isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        strict["additionalProperties"] = False
    return strict


own = list(examples({name: document[name] for name in ("paths", "components")}, ""))
schemas = {"schemas": exact(document["components"]["schemas"])}
for case in own + cases:
    # References are looked up in what is validated against.
    schema = {**exact(case["schema"]), "components": schemas}
    for error in OAS31Validator(schema, format_checker=oas31_format_checker).iter_errors(case["value"]):
        mistakes.append(f"{case['what']}: {error.json_path}: {error.message}")

print("\n".join(mistakes))
print(f"{len(own)} examples, {len(cases)} answers, {len(mistakes)} mistakes")
sys.exit(bool(mistakes))
