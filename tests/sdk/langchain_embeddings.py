"""LangChain's embeddings against a running gateway. Usage: langchain_embeddings.py BASE_URL MODELS_JSON (see python_sdk.py)"""

import json
import sys

from langchain_openai import OpenAIEmbeddings

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
# Unless told otherwise it sends numbers of OpenAI's tokens, which mean nothing to other models.
options = {"base_url": BASE_URL, "api_key": "anything", "check_embedding_ctx_length": False, "max_retries": 0}
texts = [f"text number {number}" for number in range(150)]

many = OpenAIEmbeddings(model=MODELS["many"], **options)
vectors = many.embed_documents(texts)
assert [len(vector) for vector in vectors] == [MODELS["length"]] * 150


def distance(a, b):
    return max(abs(one - other) for one, other in zip(a, b, strict=True))


alone = many.embed_query(texts[149])
assert distance(alone, vectors[149]) < 1e-3 < distance(alone, vectors[0]), "the order is kept"
if "embedding" in MODELS:
    short = OpenAIEmbeddings(model=MODELS["embedding"], dimensions=256, **options)
    assert len(short.embed_query("one")) == 256
print("all checks passed")
