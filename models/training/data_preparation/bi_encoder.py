"""Scores of a bi-encoder on shortlists: a baseline to beat, and a teacher to learn from.

    python models/training/data_preparation/bi_encoder.py MODEL ../shared/data/eval OUT --form run
    python models/training/data_preparation/bi_encoder.py MODEL ../shared/data/train OUT --form tsv

MODEL is a folder in the form of sentence-transformers: a BERT of transformers, and
1_Pooling/config.json. Every passage is encoded once. SET.run is a TREC run; SET.tsv.gz holds query,
document and score, as `teacher` of models/TRAINING.md takes it. A set whose file is there is left.
--bm25 0.01 adds a hundredth of BM25 to the cosine: a teacher that knows the query's words as well.
"""

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from blockrank_server.models.data.shortlists import (
    Shortlist,
    documents_by_id,
    read_shortlists,
    set_names,
    title_and_text,
)
from blockrank_server.models.training.data_preparation.bm25 import bm25_scores

_TOKENS_AT_ONCE = 4096
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class BiEncoder:
    """Texts to vectors of length 1.

    Attributes:
        model: of transformers.
        tokenizer: of the same checkpoint.
        takes_first: the first token's state is the vector; otherwise the mean over tokens.
        max_tokens: of a text, with its control tokens.
    """

    model: Any
    tokenizer: Any
    takes_first: bool
    max_tokens: int

    @classmethod
    def open(cls, folder: Path, max_tokens: int, dtype: str) -> "BiEncoder":
        """Load a folder."""
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
        return cls(
            AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval(),
            AutoTokenizer.from_pretrained(folder),
            bool(pooling["pooling_mode_cls_token"]),
            max_tokens,
        )

    def encode(self, texts: Sequence[str]) -> Vectors:
        """[texts, size] vectors; texts of like length share a batch."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found: dict[int, Vectors] = {}
        batch: list[int] = []
        for i in order:
            if batch and (len(batch) + 1) * len(ids[i]) > _TOKENS_AT_ONCE:
                found.update(zip(batch, self._vectors([ids[j] for j in batch]), strict=True))
                batch = []
            batch.append(i)
        found.update(zip(batch, self._vectors([ids[j] for j in batch]), strict=True))
        return np.stack([found[i] for i in range(len(ids))])

    def _vectors(self, ids: list[list[int]]) -> Vectors:
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**padded).last_hidden_state.float()
        mask = padded["attention_mask"][..., None]
        pooled = states[:, 0] if self.takes_first else (states * mask).sum(1) / mask.sum(1)
        vectors: Vectors = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return vectors


def score(
    encoder: BiEncoder, lists: Sequence[Shortlist], query_prefix: str
) -> list[list[tuple[str, float]]]:
    """(doc_id, cosine) of every document of every list, in the lists' order."""
    documents = documents_by_id(lists)
    row = {doc_id: i for i, doc_id in enumerate(documents)}
    passages = encoder.encode([title_and_text(x) for x in documents.values()])
    queries = encoder.encode([query_prefix + x.query for x in lists])
    return [
        [(i, float(passages[row[i]] @ query)) for i in x.doc_ids]
        for x, query in zip(lists, queries, strict=True)
    ]


def add_bm25(
    lists: Sequence[Shortlist], scores: list[list[tuple[str, float]]], weight: float
) -> list[list[tuple[str, float]]]:
    """Each score with weight x BM25 of its document on top."""
    return [
        [(doc_id, value + weight * x) for (doc_id, value), x in zip(row, bm25, strict=True)]
        for row, bm25 in zip(scores, bm25_scores(lists), strict=True)
    ]


def as_run(x: Shortlist, scores: list[tuple[str, float]], tag: str) -> str:
    """Lines of a TREC run, best first; ties keep the list's order."""
    ranked = sorted(scores, key=lambda pair: -pair[1])
    return "".join(
        f"{x.query_id} Q0 {doc_id} {rank} {value:.6f} {tag}\n"
        for rank, (doc_id, value) in enumerate(ranked, 1)
    )


def as_tsv(x: Shortlist, scores: list[tuple[str, float]], tag: str) -> str:
    """Query, document, score; the tag is for the other form."""
    del tag
    return "".join(f"{x.query_id}\t{doc_id}\t{value:.6f}\n" for doc_id, value in scores)


def write(path: Path, text: str) -> None:
    """The whole file or none; the same text gives the same bytes."""
    data = text.encode()
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    os.replace(scratch, path)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the bi-encoder")
    parser.add_argument("data", type=Path, help="folder of sets")
    parser.add_argument("out", type=Path, help="folder for the scores")
    parser.add_argument("--form", choices=("run", "tsv"), default="run")
    parser.add_argument("--sets", nargs="+", help="some of them; all by default")
    parser.add_argument("--lists", type=int, help="of each set, drawn with seed 7; all by default")
    parser.add_argument("--query-prefix", default="", help="instruction before a query")
    parser.add_argument("--bm25", type=float, default=0.0, help="weight of BM25 beside the cosine")
    parser.add_argument("--max-tokens", type=int, default=256, help="word pieces of a text")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    encoder = BiEncoder.open(args.model, args.max_tokens, args.dtype)
    form, suffix = (as_run, "run") if args.form == "run" else (as_tsv, "tsv.gz")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.sets or set_names(args.data):
        path = args.out / f"{name}.{suffix}"
        if path.exists():
            continue
        started = time.perf_counter()
        lists = read_shortlists(args.data, name)
        if args.lists is not None and args.lists < len(lists):
            lists = random.Random(7).sample(lists, args.lists)
        scores = score(encoder, lists, args.query_prefix)
        if args.bm25:
            scores = add_bm25(lists, scores, args.bm25)
        rows = zip(lists, scores, strict=True)
        write(path, "".join(form(x, row, args.model.name) for x, row in rows))
        print(f"{name}: {len(lists)} lists, {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
