"""A real model server on loopback: llama.cpp's own HTTP server around a tiny model with random weights.

Usage: server.py FOLDER [embed]. Prints one line of JSON, {"base_url": …}, once it answers; runs until it is killed.
With `embed` it serves vectors as well, under the name `random-embed`.
"""

import json
import sys
import threading
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 4, 128, 2048
# ChatML without its words: what matters is that the server applies a template.
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant: "


def vocabulary():
    """The smallest vocabulary that can spell anything: three controls, all bytes, the letters and some syllables."""
    tokens = [("<unk>", 2), ("<s>", 3), ("</s>", 3)] + [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens += [(token, 1) for token in ["▁", *letters, *("▁" + letter for letter in letters)]]
    tokens += [(first + second, 1) for first in "bdfklmnprst" for second in "aeiou"]
    return tokens


def write_model(path):
    rng = np.random.default_rng(7)
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def random(name, *shape):
        writer.add_tensor(name, (rng.standard_normal(shape) * 0.4).astype(np.float32))

    def ones(name):
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    random("token_embd.weight", len(tokens), WIDTH)
    random("output.weight", len(tokens), WIDTH)
    ones("output_norm.weight")
    for layer in range(LAYERS):
        for part in ["attn_norm", "ffn_norm"]:
            ones(f"blk.{layer}.{part}.weight")
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            random(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        for part in ["ffn_gate", "ffn_up"]:
            random(f"blk.{layer}.{part}.weight", INNER, WIDTH)
        random(f"blk.{layer}.ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    model = Path(sys.argv[1]) / "random.gguf"
    write_model(model)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {"random"}
    if "embed" in sys.argv[2:]:
        params.model_alias, params.embedding = {"random-embed"}, True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = CONTEXT, 2, 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(json.dumps({"base_url": server.listening_address}), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
