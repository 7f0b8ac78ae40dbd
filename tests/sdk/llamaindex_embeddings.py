"""LlamaIndex's embeddings against a running gateway. Usage: llamaindex_embeddings.py BASE_URL MODELS_JSON (see python_sdk.py)"""

import json
import sys

from llama_index.embeddings.openai_like import OpenAILikeEmbedding

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
texts = [f"text number {number}" for number in range(150)]

embedding = OpenAILikeEmbedding(
    model_name=MODELS["many"], api_base=BASE_URL, api_key="anything", embed_batch_size=150, max_retries=0
)
vectors = embedding.get_text_embedding_batch(texts)
assert [len(vector) for vector in vectors] == [MODELS["length"]] * 150


def distance(a, b):
    return max(abs(one - other) for one, other in zip(a, b, strict=True))


alone = embedding.get_query_embedding(texts[149])
assert distance(alone, vectors[149]) < 1e-3 < distance(alone, vectors[0]), "the order is kept"
print("all checks passed")
