"""Chooses prompt, tail offset and heads of the embedded default by measuring on training lists.

    python loadtests/select_heads.py measure ../shared/data/train /tmp/mass
    python loadtests/select_heads.py choose /tmp/mass

measure: every (layer, head) as a ranker of its own, for each layout x tail x offset. Tails and
offsets share the documents' keys and values, so a layout costs about one forward pass a list.
choose: greedy forward selection of heads on half of the lists, reported on the other half.
Never to be run on evaluation lists.
"""

import argparse
import json
import random
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.choose import TORCH
from blockrank_server.models.card import BUILT_IN, Card, load_card
from blockrank_server.models.config import load_config
from blockrank_server.models.engine import Engine
from blockrank_server.models.gguf_convert import converted_folder
from blockrank_server.models.loading import load_network
from blockrank_server.models.packing import pack
from blockrank_server.models.prompt import Prompt
from blockrank_server.models.shortlists import Shortlist, read_shortlists, set_names
from blockrank_server.models.text_tokenizer import TextTokenizer

NUM_LAYERS, NUM_HEADS = 30, 9  # of SmolLM2-135M
PROMPTS = json.loads(Path(__file__).with_name("data").joinpath("prompts.json").read_text())
LAYOUTS: dict[str, dict[str, Any]] = PROMPTS["layouts"]
TAILS: dict[str, str] = PROMPTS["tails"]
Variant = tuple[str, int]  # tail, offset


def variant_card(layout: str, tail: str, offset: int) -> Card:
    """The default's card with another prompt, reading every head of the measured layers."""
    fields = load_card(BUILT_IN / "default.json").model_dump(mode="json")
    fields["prompt"] |= LAYOUTS[layout] | {"tail": [{"text": TAILS[tail]}]}
    fields["positions"]["tail_offset"] = offset
    fields["limits"] |= {"max_document_tokens": 256, "max_query_tokens": 128}
    fields["read"] = [{"layer": layer, "heads": "all"} for layer in range(NUM_LAYERS)]
    return Card.model_validate(fields)


def measure(
    data: Path, out: Path, num_lists: int, layouts: list[str], variants: list[Variant], dtype: str
) -> None:
    """Write LAYOUT--SET.npz: mass [variants, lists, layers * heads, documents] and positives."""
    out.mkdir(parents=True, exist_ok=True)
    base = load_card(BUILT_IN / "default.json")
    assert base.weights is not None
    folder = converted_folder(
        base.weights, NUM_LAYERS - 1, platformdirs.user_cache_path("blockrank-server")
    )
    config = load_config(folder)
    max_positions = config.max_position_embeddings
    network = load_network(
        folder, config, NUM_LAYERS - 1, torch.device("cpu"), getattr(torch, dtype)
    )
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    for layout, name in product(layouts, set_names(data)):
        path = out / f"{layout}--{name}.npz"
        if path.exists():  # of a run that was stopped
            continue
        cards = [variant_card(layout, *variant) for variant in variants]
        engine = Engine(network, cards[0], torch.device("cpu"), TORCH)
        prompts = [Prompt(card, tokenizer, max_positions) for card in cards]
        lists = random.Random(7).sample(read_shortlists(data, name), num_lists)
        started = time.perf_counter()
        mass = np.stack([_mass(engine, cards[0], prompts, x) for x in lists], axis=1)
        positives = np.array([[i in x.answer_ids for i in x.doc_ids] for x in lists])
        np.savez(
            path,
            mass=mass.astype(np.float32),
            positives=positives,
            variants=json.dumps([f"{tail} @{offset}" for tail, offset in variants]),
        )
        print(f"{layout} {name}: {len(lists)} lists, {time.perf_counter() - started:.0f} s")


def _mass(
    engine: Engine, card: Card, prompts: list[Prompt], shortlist: Shortlist
) -> NDArray[np.float32]:
    """[variants, layers * heads, documents] mass, mean over signal tokens."""
    encoded = [prompt.encode(shortlist.query, shortlist.documents) for prompt in prompts]
    with torch.inference_mode():
        masses = engine.forward(pack(encoded, card)).masses()
        rows = [torch.cat([m.mean(1) for m in layers]) for layers in masses]
    found: NDArray[np.float32] = torch.stack(rows).numpy()
    return found


def reciprocal_rank(
    scores: NDArray[np.float32], positives: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[...] of the best positive, from [..., documents] scores; ties count against it."""
    best = np.where(positives, scores, -np.inf).max(-1, keepdims=True)
    ahead = ((scores >= best) & ~positives).sum(-1)
    found: NDArray[np.float64] = 1.0 / (1 + ahead)
    return found


class Measured:
    """All sets of one layout and variant: halves to choose on and to report on."""

    def __init__(self, files: list[Path], variant: int) -> None:
        self.choose, self.report = {}, {}
        for path in files:
            data, name = np.load(path), path.stem.split("--")[1]
            mass, positives = data["mass"][variant], data["positives"]
            half = len(mass) // 2
            self.choose[name] = mass[:half], positives[:half]
            self.report[name] = mass[half:], positives[half:]

    @staticmethod
    def score(half: dict[str, Any], heads: list[int]) -> dict[str, float]:
        """Mean reciprocal rank of each set with the mean mass of these heads."""
        return {
            name: float(reciprocal_rank(mass[:, heads].sum(1), positives).mean())
            for name, (mass, positives) in half.items()
        }

    def best(self, count: int) -> list[tuple[int, dict[str, float]]]:
        """The heads that rank all lists best alone."""
        halves = {name: (self.choose[name], self.report[name]) for name in self.choose}
        both = {
            n: tuple(map(np.concatenate, zip(a, b, strict=True))) for n, (a, b) in halves.items()
        }
        num_heads = next(iter(both.values()))[0].shape[1]
        scores = {head: self.score(both, [head]) for head in range(num_heads)}
        order = sorted(scores, key=lambda head: -np.mean(list(scores[head].values())))
        return [(head, scores[head]) for head in order[:count]]

    def greedy(self, max_heads: int, max_layer: int, num_heads: int) -> list[int]:
        """Heads added one by one, each the one that helps the mean over sets most."""
        chosen: list[int] = []
        best = 0.0
        for _ in range(max_heads):
            gains = {
                head: float(np.mean(list(self.score(self.choose, [*chosen, head]).values())))
                for head in range((max_layer + 1) * num_heads)
                if head not in chosen
            }
            head = max(gains, key=gains.__getitem__)
            if gains[head] <= best:
                break
            best = gains[head]
            chosen.append(head)
        return chosen


def choose(folder: Path, max_heads: int, max_layers: list[int]) -> None:
    """Print two Markdown tables: greedy sets of heads, and the best single heads on all lists."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.npz")):
        files.setdefault(path.stem.split("--")[0], []).append(path)
    names = sorted({path.stem.split("--")[1] for paths in files.values() for path in paths})
    greedy, single = [], []
    for layout, paths in files.items():
        for i, variant in enumerate(json.loads(str(np.load(paths[0])["variants"]))):
            measured = Measured(paths, i)
            for last in max_layers:
                heads = measured.greedy(max_heads, last, NUM_HEADS)
                chosen_on = measured.score(measured.choose, heads)
                held_out = measured.score(measured.report, heads)
                seen = f"{np.mean(list(chosen_on.values())):.3f}"
                greedy.append([layout, variant, str(last), _named(heads), seen, *_row(held_out)])
            single += [
                [layout, variant, _named([head]), *_row(rr)] for head, rr in measured.best(5)
            ]
    columns = ["layout", "tail @offset", "last layer", "heads", "chosen on", "held out", *names]
    print(_table(columns, greedy))
    print(_table(["layout", "tail @offset", "head", "all lists", *names], single))


def _named(heads: list[int]) -> str:
    return " ".join(f"{head // NUM_HEADS}-{head % NUM_HEADS}" for head in heads)


def _row(scores: dict[str, float]) -> list[str]:
    values = [float(np.mean(list(scores.values()))), *(scores[name] for name in sorted(scores))]
    return [f"{value:.3f}" for value in values]


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("measure", help="mass of every head on training lists")
    first.add_argument("data", type=Path, help="folder of training sets")
    first.add_argument("out", type=Path, help="folder for the measured mass")
    first.add_argument("--num-lists", type=int, default=32, help="of each set")
    first.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    first.add_argument("--tails", nargs="+", choices=TAILS, default=list(TAILS))
    first.add_argument("--offsets", nargs="+", type=int, default=[1024, 4096])
    first.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    second = commands.add_parser("choose", help="greedy selection from measured mass")
    second.add_argument("folder", type=Path, help="what measure wrote")
    second.add_argument("--max-heads", type=int, default=8)
    second.add_argument("--last-layers", type=int, nargs="+", default=[16, 18, 20, 23])
    args = parser.parse_args()
    if args.command == "measure":
        variants = list(product(args.tails, args.offsets))
        measure(args.data, args.out, args.num_lists, args.layouts, variants, args.dtype)
    else:
        choose(args.folder, args.max_heads, args.last_layers)


if __name__ == "__main__":
    main()
