"""Measures the ranker on this CPU against the cross-encoders that a user would take instead.

    pip install onnx onnxscript onnxruntime
    python loadtests/bench_cross_encoders.py          (nothing else may run)

These have the shape of ms-marco-MiniLM-L6 and -L12 (hidden size 384) and RANDOM weights, which take
as long as any. They get every query with every document, as many tokens as the default's tokenizer
counts but 512 at most, sorted by length, 32 pairs at a time. All take turns at every list, in one
process.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from bench_document_reuse import processor
from bench_single_request import HERE, write
from blockrank_server.models.data.shortlists import Shortlist, read_shortlists
from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.models.quantization.dynamic_int8 import DynamicInt8Linear
from blockrank_server.models.ranker import Ranker

Row = dict[str, Any]
Pairs = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
_AT_A_TIME = 32
_MAX = 512  # tokens of a pair: it has no more positions
_FORMATS = {
    "float32": ("float32", "none"),
    "bfloat16": ("bfloat16", "none"),
    "dynamic int8": ("bfloat16", "dynamic_int8"),
}


def pairs_of(ranker: Ranker, shortlist: Shortlist) -> Pairs:
    """Make padded batches of token ids and masks for a cross-encoder."""
    num_query = len(ranker.tokenize(shortlist.query))
    texts = [f"{d['title']} {d['text']}" for d in shortlist.documents]
    lengths = sorted(min(_MAX, num_query + len(ranker.tokenize(text)) + 3) for text in texts)
    batches = []
    for start in range(0, len(lengths), _AT_A_TIME):
        some = np.array(lengths[start : start + _AT_A_TIME])
        mask = (np.arange(some.max()) < some[:, None]).astype(np.int64)
        batches.append((mask * 1000, mask))
    return batches


def encoder(num_layers: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=num_layers,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=1,
    )
    return BertForSequenceClassification(config).eval().requires_grad_(False)


def by_torch(model: BertForSequenceClassification) -> Callable[[Pairs], None]:
    def score(pairs: Pairs) -> None:
        with torch.inference_mode():
            for ids, mask in pairs:
                model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))

    return score


def in_bytes(model: BertForSequenceClassification) -> BertForSequenceClassification:
    """Put its linear layers in dynamic int8, by our own layer: torch has removed its own."""
    for name, module in list(model.bert.encoder.named_modules()):
        if isinstance(module, torch.nn.Linear):
            model.bert.encoder.set_submodule(name, DynamicInt8Linear(module))
    return model


def by_onnxruntime(model: BertForSequenceClassification, folder: Path, *, bits: int) -> Any:
    """Export a model, and score with it in onnxruntime's own dynamic int8, or in float32."""
    import onnxruntime  # noqa: PLC0415 - an extra that only this function needs
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415

    path = folder / f"{model.config.num_hidden_layers}.onnx"
    ids = torch.ones(2, 8, dtype=torch.int64)
    names = {0: "batch", 1: "length"}
    torch.onnx.export(
        model,
        (ids, ids),
        path,
        input_names=["input_ids", "attention_mask"],
        dynamic_shapes=(names, names),
        dynamo=True,
        external_data=False,
    )
    if bits == 8:
        quantize_dynamic(path, path := path.with_suffix(".int8.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def score(pairs: Pairs) -> None:
        for ids, mask in pairs:
            session.run(None, {"input_ids": ids, "attention_mask": mask})

    return score


def rivals(folder: Path, *, has_onnxruntime: bool) -> Iterator[tuple[str, Callable[[Pairs], None]]]:
    for num in (6, 12):
        name = f"MiniLM-L{num} (random weights)"
        yield f"{name}, torch, float32", by_torch(encoder(num))
        yield f"{name}, torch, bfloat16", by_torch(encoder(num).bfloat16())
        yield f"{name}, torch, dynamic int8", by_torch(in_bytes(encoder(num).bfloat16()))
        if has_onnxruntime:
            for kind, bits in (("float32", 32), ("dynamic int8", 8)):
                score = by_onnxruntime(encoder(num), folder, bits=bits)
                yield f"{name}, onnxruntime, {kind}", score


def ours() -> dict[str, Ranker]:
    return {
        f"this ranker, {name}{known}": Ranker.open(
            device="cpu", dtype=dtype, quantization=how, document_cache_bytes=num_bytes
        )
        for known, num_bytes in (("", 0), (", all known", 4 * 2**30))
        for name, (dtype, how) in _FORMATS.items()
    }


def measure(num_documents: int, repeats: int, folder: Path, *, has_onnxruntime: bool) -> list[Row]:
    """Measure milliseconds for a list: medians over lists."""
    lists = [x.first(num_documents) for x in read_shortlists(HERE / "data", "squad-sample")]
    rankers, others = ours(), dict(rivals(folder, has_onnxruntime=has_onnxruntime))
    found: dict[str, list[float]] = {name: [] for name in (*rankers, *others)}
    num_tokens = dict.fromkeys(found, 0)
    some = next(iter(rankers.values()))
    for turn in range(repeats + 1):  # the first warms up
        each = lists[turn % len(lists)]
        for name, ranker in rankers.items():
            if "known" in name:
                ranker.rank(each.query, each.documents)
            started = time.perf_counter()
            ranker.rank(lists[(turn + 1) % len(lists)].query, each.documents)
            found[name].append((time.perf_counter() - started) * 1e3)
            num_tokens[name] = some.encode(each.query, each.documents).num_tokens
        pairs = pairs_of(some, each)
        for name, score in others.items():
            started = time.perf_counter()
            score(pairs)
            found[name].append((time.perf_counter() - started) * 1e3)
            num_tokens[name] = int(sum(mask.sum() for _, mask in pairs))
    first = median(found[next(iter(found))][1:])
    return [
        {
            "documents": num_documents,
            "name": name,
            "ms": median(times[1:]),
            "tokens": num_tokens[name],
            "times_faster": first / median(times[1:]),
        }
        for name, times in found.items()
    ]


def report(rows: list[Row], title: str) -> str:
    lines = [
        f"# {title}\n",
        "| documents | | ms | tokens of the last list | times faster than float32 |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['documents']} | {r['name']} | {r['ms']:.0f} | {r['tokens']} "
        f"| {r['times_faster']:.2f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--onnxruntime", action="store_true", help="measure it, too")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    keep_freed_memory()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for num in args.documents:
            rows += measure(num, args.repeats, Path(folder), has_onnxruntime=args.onnxruntime)
    title = (
        f"Lists of squad-sample on a CPU: default and cross-encoders, {torch.get_num_threads()} "
        f"threads, {processor()}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{datetime.now(UTC).date().isoformat()}"
    )
    write(args.out, "cross_encoders_cpu", report(rows, title), {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
