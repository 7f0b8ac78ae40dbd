"""The OpenAI SDK's embeddings of a real model server behind a running gateway. Usage: openai_embeddings.py BASE_URL MODELS_JSON
(see python_sdk.py)"""

import json
import sys

from openai import OpenAI

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
client = OpenAI(base_url=BASE_URL, api_key="anything", max_retries=0)
texts = [f"text number {number}" for number in range(10)]


def distance(a, b):
    return max(abs(one - other) for one, other in zip(a, b, strict=True))


# The SDK asks for base64 unless told otherwise, and decodes it.
decoded = client.embeddings.create(model=MODELS["many"], input=texts)
assert [item.index for item in decoded.data] == list(range(10)) and decoded.usage.prompt_tokens > 10, decoded.usage
assert all(len(item.embedding) == MODELS["length"] for item in decoded.data)
floats = client.embeddings.create(model=MODELS["many"], input=texts, encoding_format="float")
assert distance(floats.data[7].embedding, decoded.data[7].embedding) < 1e-3, "the same numbers"
alone = client.embeddings.create(model=MODELS["many"], input=texts[9]).data[0].embedding
assert distance(alone, decoded.data[9].embedding) < 1e-3 < distance(alone, decoded.data[0].embedding), "the order is kept"
print("all checks passed")
