"""Tells where a model is, without fetching, converting or importing anything that takes time."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blockrank_server.models.checkpoint.any_card import AnyCard, load_any_card
from blockrank_server.models.checkpoint.card import CARD_FILE, built_in_cards, find_card
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.files.paths import expand_user

CONFIG_FILE = "config.json"
# Not ./folder, and nothing else that begins with a dot: the hub has no such names.
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True, slots=True)
class Location:
    """Tells what a model's name stands for.

    Attributes:
        kind: a local folder, a file embedded in an installed package, or a repository of the hub.
        card_file: the card given, else the one beside the weights, else the built-in one of that
            name. None if only the hub can tell.
        card: what card_file holds.
    """

    kind: Literal["folder", "embedded", "hub"]
    card_file: Path | None
    card: AnyCard | None


def locate(
    path_or_name: str, *, card: str | Path | None = None, revision: str | None = None
) -> Location:
    """Find out what a name stands for, and read the card if it is at hand.

    Args:
        path_or_name: folder, hub name (owner/repository) or built-in name.
        card: file or name of a built-in card; None or empty for the model's own.
        revision: allowed with a hub name only.

    Raises:
        CheckpointError: the name stands for nothing, or the folder lacks config.json or a card.
        CardError: the card cannot be found or is not valid.
    """
    given = find_card(card) if card else None
    folder = expand_user(path_or_name)
    built_in = built_in_cards().get(path_or_name)
    if folder.is_dir():
        file = _card_beside(folder, given)
        found = Location("folder", file, load_any_card(file))
    elif _HUB_NAME.fullmatch(path_or_name):
        fallback = given or built_in
        return Location("hub", fallback, load_any_card(fallback) if fallback else None)
    elif built_in is not None:
        found = _embedded(path_or_name, given or built_in)
    elif folder.exists():
        raise CheckpointError(f"model {path_or_name!r} is a file; name the folder it is in")
    else:
        raise CheckpointError(
            f"model {path_or_name!r} is no folder, no hub name (owner/name) and none of "
            f"{', '.join(built_in_cards())}"
        )
    if revision is not None:
        raise CheckpointError(
            f"revision {revision!r} applies to hub names, not to {path_or_name!r}"
        )
    return found


def _card_beside(folder: Path, given: Path | None) -> Path:
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"model {str(folder)!r} is a folder without {CONFIG_FILE}")
    file = given or folder / CARD_FILE
    if not file.exists():
        raise CheckpointError(
            f"{file} is missing: put a card beside the weights, or name a file or one of "
            f"{', '.join(built_in_cards())} (models/README.md)"
        )
    return file


def _embedded(name: str, file: Path) -> Location:
    card = load_any_card(file)
    if isinstance(card, YesNoCard) or card.weights is None:
        raise CardError(f"card {file} names no weights, and model {name!r} has none without it")
    return Location("embedded", file, card)
