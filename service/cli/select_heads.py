"""Defines the command select-heads: from lists with known answers to a card."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tqdm import tqdm

from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.checkpoint.card import Card, ReadPoint
from blockrank_server.models.files.output_file import write_text
from blockrank_server.service.cli.exit_codes import OK, UsageError
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_data_flags,
    add_settings,
    check_model,
    check_output,
    check_text,
    positive,
    read_settings,
    reading,
)
from blockrank_server.service.cli.parser import Command, CommandParser
from blockrank_server.service.open_ranker import OpenRanker, checkpoint_of, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.checkpoint.checkpoint import Checkpoint
    from blockrank_server.models.evaluation.head_choice import Head, HeadChoice, Masses
    from blockrank_server.models.evaluation.head_masses import JudgedList
    from blockrank_server.models.ranker import Ranker

_EXAMPLES = """examples:
  blockrank-server select-heads data/train --out rerank_card.json
  blockrank-server select-heads data/train --model ./checkpoint --layers 8-20 --out my.json
  blockrank-server select-heads data/train --whole-layers --out card.json
  blockrank-server select-heads data/train --greedy --lists 100 --out card.json

Measures every head on lists with known answers, half to choose on and half to report on, and writes
the card with the best in place of its own. Never give it lists you evaluate on.
exit codes: 0 ok, 1 model failure, 2 wrong usage or data"""


def select_heads(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Choose heads as the options say, write the card, print a report.

    Raises:
        UsageError: options or data are at fault.
        RankerError: the model cannot be opened.
    """
    if options.temperature <= 0:
        raise UsageError(f"--temperature is {options.temperature}, above 0 is needed")
    check_output("--out", options.out.parent)
    if options.out.is_dir():
        raise UsageError(f"--out {options.out} is a folder, not a file")
    check_text("--name", options.name or "")
    check_model(settings)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.models.checkpoint.model_config import load_model_config  # noqa: PLC0415
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.evaluation.errors import EvaluationError  # noqa: PLC0415
    from blockrank_server.models.evaluation.head_choice import HeadChoice  # noqa: PLC0415

    try:
        with reading():
            drawn = _draw(options)
    except (EvaluationError, DataError) as error:
        raise UsageError(str(error)) from error
    found = checkpoint_of(settings)
    own = attention_card(found.card, "select-heads")
    config = load_model_config(found.folder)
    first, last = options.layers or (0, config.num_hidden_layers - 1)
    if last >= config.num_hidden_layers:
        raise UsageError(f"--layers ends at {last}, the model has {config.num_hidden_layers}")
    masses = _measure(drawn, settings, found, max(last, own.last_layer), open_ranker)
    num_heads = config.num_attention_heads
    choice = HeadChoice(masses, num_heads, (first, last), options.temperature)
    heads = _choose(choice, options)
    _write_card(options, found, heads, num_heads)
    print(_report(choice, heads, _heads_of(own, num_heads)))
    return OK


def _draw(options: argparse.Namespace) -> "dict[str, list[JudgedList]]":
    from blockrank_server.models.evaluation.head_masses import draw_lists  # noqa: PLC0415
    from blockrank_server.models.evaluation.sets import find_sets, read_set  # noqa: PLC0415

    places = find_sets(options.data, options.sets)
    return {
        name: draw_lists(read_set(name, path), options.lists, options.documents, options.seed)
        for name, path in places.items()
    }


def _measure(
    drawn: "dict[str, list[JudgedList]]",
    settings: Settings,
    found: "Checkpoint",
    last_layer: int,
    open_ranker: OpenRanker,
) -> "Masses":
    """Measure the mass of every head on the lists drawn from every set."""
    from blockrank_server.models.evaluation.head_masses import (  # noqa: PLC0415
        all_heads_card,
        measure_heads,
    )

    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.json"
        card.write_text(
            all_heads_card(attention_card(found.card, "select-heads"), last_layer).model_dump_json()
        )
        adapter = found.with_adapter(settings.adapter).adapter
        changed = settings.model_copy(update={"card": str(card), "adapter": adapter})
        ranker = cast("Ranker", open_ranker(changed.keeping_nothing()))
    with tqdm(total=sum(map(len, drawn.values())), unit="list", disable=None) as bar:
        return {name: measure_heads(ranker, lists, bar.update) for name, lists in drawn.items()}


def _choose(choice: "HeadChoice", options: argparse.Namespace) -> "list[Head]":
    if options.whole_layers:
        return choice.whole_layer()
    return choice.greedy(options.heads) if options.greedy else choice.top(options.heads)


def _heads_of(card: Card, num_heads: int) -> "list[Head]":
    return [
        (point.layer, head)
        for point in card.read
        for head in (range(num_heads) if point.heads == "all" else point.heads)
    ]


def _write_card(
    options: argparse.Namespace, found: "Checkpoint", heads: "list[Head]", num_heads: int
) -> None:
    """Write the card with these heads in place of its own."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(heads):
        by_layer.setdefault(layer, []).append(head)
    read = tuple(
        ReadPoint(layer=layer, heads="all" if len(chosen) == num_heads else tuple(chosen))
        for layer, chosen in by_layer.items()
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    adapter = found.adapter and os.path.relpath(found.adapter, options.out.parent)
    card = found.card.model_copy(
        update={"name": options.name or found.card.name, "read": read, "adapter": adapter}
    )
    # A calibration is of the scores of other heads.
    text = card.model_dump_json(indent=2, exclude={"calibration"}) + "\n"
    if options.out.is_file() and options.out.read_bytes() == text.encode():
        print(f"note: {options.out} is this card already, and is not changed", file=sys.stderr)
        return
    write_text(options.out, text)
    print(f"wrote {options.out}", file=sys.stderr)


def _report(choice: "HeadChoice", heads: "list[Head]", before: "list[Head]") -> str:
    """Write in Markdown the heads chosen, and how they rank together, on both halves."""
    alone = dict(choice.ranked())
    lines = [
        "| head | contrastive QR score | held out | reciprocal rank, held out |",
        "|---|---|---|---|",
    ]
    for head in heads:
        found = choice.judge(choice.held_out, [head])
        lines.append(
            f"| {head[0]}-{head[1]} | {alone[head]:.3f} | {found.contrastive:.3f} "
            f"| {found.reciprocal_rank:.3f} |"
        )
    names = list(choice.held_out)
    lines += [
        "",
        f"| heads together | lists | contrastive | reciprocal rank | {' | '.join(names)} |",
    ]
    lines.append("|---|" + "---|" * (3 + len(names)))
    for label, some in (("chosen", heads), ("the card's own", before)):
        for half, masses in (("chosen on", choice.chosen_on), ("held out", choice.held_out)):
            found = choice.judge(masses, some)
            by_set = " | ".join(f"{found.by_set[name]:.3f}" for name in names)
            lines.append(
                f"| {label} | {half} | {found.contrastive:.3f} | {found.reciprocal_rank:.3f} "
                f"| {by_set} |"
            )
    return "\n".join(lines)


def _add_flags(parser: CommandParser) -> None:
    add_data_flags(parser)
    add = parser.add_argument
    add("--out", metavar="FILE", type=Path, required=True, help="The card that is written.")
    add("--name", help="The new card's name. Default: the old one's.")
    add("--lists", metavar="N", type=positive, default=64, help="Lists of each set. Default: 64.")
    add(
        "--documents",
        metavar="N",
        type=positive,
        default=16,
        help="Documents of each list. Default: 16.",
    )
    add("--heads", metavar="N", type=positive, default=8, help="Heads at most. Default: 8.")
    add(
        "--layers",
        metavar="FIRST-LAST",
        type=_layers,
        help="Layers to choose from, counted from 0. Default: all.",
    )
    add(
        "--temperature",
        type=float,
        default=0.1,
        help="Divides the masses in the contrastive score. Default: 0.1.",
    )
    add("--seed", type=int, default=7, help="Decides which lists are drawn. Default: 7.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="Add heads while the sum of them gains.")
    how.add_argument("--whole-layers", action="store_true", help="Take one layer with all heads.")
    add_settings(parser, MODEL_SETTINGS)


def _layers(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST-LAST, such as 8-20")
    return int(first), int(last)


def _run(options: argparse.Namespace) -> int:
    return select_heads(options, read_settings(options))


COMMAND = Command(
    "select-heads", "Choose the attention heads that a card reads.", _EXAMPLES, _add_flags, _run
)
