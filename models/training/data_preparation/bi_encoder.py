"""Scores of a bi-encoder on shortlists: a baseline to beat, and a teacher to learn from.

    python -m blockrank_server.models.training.data_preparation.bi_encoder MODEL DATA OUT --form tsv

MODEL is a folder of sentence-transformers, DATA a folder of sets. Every passage is encoded once.
OUT/SET.run is a TREC run; OUT/SET.tsv.gz holds query, document and score, as `teacher` of
models/TRAINING.md takes it. A set whose file is there already is left as it is. --bm25 0.01 adds a
hundredth of BM25 to the cosine, for a teacher that knows the query's words as well.
"""

import argparse
import gzip
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from blockrank_server.models.data.shortlists import (
    Shortlist,
    documents_by_id,
    read_shortlists,
    set_names,
    title_and_text,
)
from blockrank_server.models.files.output_file import replacing
from blockrank_server.models.training.data_preparation.bm25 import bm25_scores


def open_bi_encoder(folder: Path, max_tokens: int, dtype: str) -> SentenceTransformer:
    """Open a folder of sentence-transformers; texts are cut to max_tokens, control tokens included.

    Raises:
        FileNotFoundError: the folder does not say how its tokens' vectors become one.
    """
    if not (folder / "modules.json").is_file():  # the library would take the mean in its place
        raise FileNotFoundError(f"{folder} is no folder of sentence-transformers: no modules.json")
    encoder = SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, dtype)},
    )
    encoder.max_seq_length = max_tokens
    # Pooled in fp32: a mean in bf16 moved a cosine by up to 0.004.
    encoder[0].register_forward_hook(
        lambda _, __, found: found | {"token_embeddings": found["token_embeddings"].float()}
    )
    return encoder


def score(
    encoder: SentenceTransformer, lists: Sequence[Shortlist], query_prefix: str
) -> list[list[tuple[str, float]]]:
    """Return (doc_id, cosine) of every document of every list, in the lists' order."""
    documents = documents_by_id(lists)
    row = {doc_id: i for i, doc_id in enumerate(documents)}
    texts = [title_and_text(x) for x in documents.values()]
    passages = encoder.encode(texts, normalize_embeddings=True)
    queries = encoder.encode([query_prefix + x.query for x in lists], normalize_embeddings=True)
    return [
        [(i, float(passages[row[i]] @ query)) for i in x.doc_ids]
        for x, query in zip(lists, queries, strict=True)
    ]


def add_bm25(
    lists: Sequence[Shortlist], scores: list[list[tuple[str, float]]], weight: float
) -> list[list[tuple[str, float]]]:
    """Return each score with weight x BM25 of its document on top."""
    return [
        [(doc_id, value + weight * x) for (doc_id, value), x in zip(row, bm25, strict=True)]
        for row, bm25 in zip(scores, bm25_scores(lists), strict=True)
    ]


def as_run(x: Shortlist, scores: list[tuple[str, float]], tag: str) -> str:
    """Write the lines of a TREC run, best first; ties keep the list's order."""
    ranked = sorted(scores, key=lambda pair: -pair[1])
    return "".join(
        f"{x.query_id} Q0 {doc_id} {rank} {value:.6f} {tag}\n"
        for rank, (doc_id, value) in enumerate(ranked, 1)
    )


def as_tsv(x: Shortlist, scores: list[tuple[str, float]], tag: str) -> str:
    """Write query, document and score; the tag is for the other form."""
    del tag
    return "".join(f"{x.query_id}\t{doc_id}\t{value:.6f}\n" for doc_id, value in scores)


def write(path: Path, text: str) -> None:
    """Write the whole file or none of it; the same text gives the same bytes."""
    data = text.encode()
    with replacing(path) as scratch:
        scratch.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the bi-encoder")
    parser.add_argument("data", type=Path, help="folder of sets")
    parser.add_argument("out", type=Path, help="folder for the scores")
    parser.add_argument("--form", choices=("run", "tsv"), default="run")
    parser.add_argument("--sets", nargs="+", help="some of the sets; all by default")
    parser.add_argument("--lists", type=int, help="of each set, drawn with seed 7; all by default")
    parser.add_argument("--query-prefix", default="", help="instruction before a query")
    parser.add_argument("--bm25", type=float, default=0.0, help="weight of BM25 beside the cosine")
    parser.add_argument("--max-tokens", type=int, default=256, help="word pieces of a text")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    encoder = open_bi_encoder(args.model, args.max_tokens, args.dtype)
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
