"""Measures a yes/no reranker on this machine: one packed prefill against pointwise batches.

    .venv/bin/python loadtests/bench_yes_no.py      (nothing else may run)

Weights are random, in the shape of Qwen3-Reranker-0.6B or some of its layers; prompts are those of
its card, over real documents, by the tokenizer of the embedded default. Times are of one run each,
after one of two documents to warm up:
  packed     Ranker.rank: tokenise, pack, one forward with the prefix once, scores
  pointwise  plain transformers as on the model card: prompts padded on the left, in batches, with
             logits of the last token only; of length order and as the documents come
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from bench_single_request import write
from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint
from blockrank_server.models.data.shortlists import read_shortlists
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker

HERE = Path(__file__).parent
CARD = BUILT_IN / "Qwen--Qwen3-Reranker-0.6B.json"
NUM_LAYERS = 28


def make_checkpoint(folder: Path, num_layers: int) -> None:
    """Write a checkpoint of random weights with the card and a tokenizer."""
    tokenizer = json.loads((find_checkpoint("default").folder / "tokenizer.json").read_text())
    first = len(tokenizer["model"]["vocab"])
    for i, word in enumerate(("<think>", "</think>")):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        tokenizer["added_tokens"].append({"id": first + i, "content": word} | flags)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / CARD_FILE).write_text(CARD.read_text())
    config = Qwen3Config(
        vocab_size=first + 2,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=num_layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def prompts(encoded: EncodedRequest) -> list[torch.Tensor]:
    """Join prefix and document to the prompt of each pair."""
    ids = torch.from_numpy(encoded.token_ids).long()
    prefix = ids[: encoded.num_prefix_tokens]
    return [torch.cat([prefix, ids[start:stop]]) for start, stop in encoded.block_spans]


@torch.inference_mode()
def pointwise(
    model: PreTrainedModel, pairs: Sequence[torch.Tensor], verdicts: list[int], size: int
) -> list[float]:
    """Score pairs in batches of so many."""
    scores: list[float] = []
    for i in range(0, len(pairs), size):
        batch = pairs[i : i + size]
        longest = max(map(len, batch))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, pair in enumerate(batch):
            ids[row, longest - len(pair) :] = pair
            mask[row, longest - len(pair) :] = 1
        logits = model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1).logits[:, -1]
        scores += logits[:, verdicts].softmax(1)[:, 1].tolist()
    return scores


def measure(folder: Path, num_documents: int, size: int) -> dict[str, Any]:
    ranker = Ranker.open(folder, device="cpu", dtype="float32")
    shortlist = read_shortlists(HERE / "data", "squad-sample")[0].first(num_documents)
    query, documents = shortlist.query, shortlist.documents
    ranker.rank(query, documents[:2])
    started = time.perf_counter()
    ours = ranker.rank(query, documents)
    packed_s = time.perf_counter() - started
    encoded = ranker.encode(query, documents)
    pairs = prompts(encoded)
    verdicts = [token.id for word in ("no", "yes") for token in ranker.tokenize(word)]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pointwise(model, pairs[:2], verdicts, 2)
    row = {
        "documents": num_documents,
        "tokens": encoded.num_tokens,
        "pointwise_tokens": sum(map(len, pairs)),
        "packed_s": packed_s,
    }
    by_length = sorted(range(len(pairs)), key=lambda i: len(pairs[i]))
    for name, order in (("in_order_s", list(range(len(pairs)))), ("by_length_s", by_length)):
        started = time.perf_counter()
        found = pointwise(model, [pairs[i] for i in order], verdicts, size)
        row[name] = time.perf_counter() - started
        off = max(abs(ours[i] - score) for i, score in zip(order, found, strict=True))
        row["largest_difference"] = max(row.get("largest_difference", 0.0), off)
    return row


def report(row: dict[str, Any], title: str, size: int) -> str:
    packed = row["packed_s"]
    return (
        f"# {title}\n\n"
        "| documents | tokens packed | tokens of pairs | packed, s | tokens/s | batches of "
        f"{size} as they come, s | / packed | of like lengths, s | / packed |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        f"| {row['documents']} | {row['tokens']} | {row['pointwise_tokens']} | {packed:.1f} | "
        f"{row['tokens'] / packed:.0f} | {row['in_order_s']:.1f} | "
        f"{row['in_order_s'] / packed:.2f}x | {row['by_length_s']:.1f} | "
        f"{row['by_length_s'] / packed:.2f}x |\n\n"
        f"Largest difference of a score: {row['largest_difference']:.1g}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--layers", type=int, default=NUM_LAYERS)
    parser.add_argument("--batch", type=int, default=8, help="pairs of a pointwise batch")
    parser.add_argument("--note", default="", help="words to add to the title")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), args.layers)
        row = measure(Path(folder), args.documents, args.batch)
    title = (
        f"Yes/no reranker, random weights in the shape of Qwen3-Reranker-0.6B, {args.layers} of "
        f"{NUM_LAYERS} layers, fp32, CPU, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{datetime.now(UTC).date().isoformat()}{args.note and f', {args.note}'}"
    )
    write(args.out, "yes_no_cpu", report(row, title, args.batch), {"title": title, "row": row})


if __name__ == "__main__":
    main()
