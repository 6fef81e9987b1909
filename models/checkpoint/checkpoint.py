"""Finds a checkpoint's card and folder of files by its name: embedded, local folder or hub."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self

from typing_extensions import TypeVar

from blockrank_server.models.checkpoint.adapter import ADAPTER_FILE
from blockrank_server.models.checkpoint.any_card import AnyCard, PackedCard
from blockrank_server.models.checkpoint.cache import cache_folder
from blockrank_server.models.checkpoint.card import CARD_FILE, Card
from blockrank_server.models.checkpoint.gguf import converted_folder
from blockrank_server.models.checkpoint.hub import HubRepository
from blockrank_server.models.checkpoint.location import Location, locate
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.files.paths import expand_user

# A checkpoint of which nothing is said is read by one packed prefill.
CardT_co = TypeVar("CardT_co", bound=AnyCard, default=PackedCard, covariant=True)
Kind = TypeVar("Kind", bound=AnyCard)


@dataclass(frozen=True, slots=True)
class Checkpoint(Generic[CardT_co]):
    """Holds what it takes to open a ranker.

    Attributes:
        folder: holds config.json, tokenizer.json and the safetensors.
        revision: commit of a hub repository, start of the checksum of an embedded file, or None.
        adapter: folder of the adapter to merge, or None.
    """

    card: CardT_co
    folder: Path
    revision: str | None
    adapter: Path | None

    def with_adapter(self, folder: Path | None) -> Self:
        """Replace the card's adapter by another one, if one is given.

        A calibration does not hold for another adapter, and is left out.
        """
        if folder is None:
            return self
        if not isinstance(self.card, Card):
            return replace(self, adapter=folder)
        card: Any = self.card.model_copy(update={"calibration": None})
        return replace(self, adapter=folder, card=card)

    def served_revision(self) -> str | None:
        """Name the revision and the start of the adapter's checksum; None for a local folder.

        Raises:
            CheckpointError: the adapter cannot be read.
        """
        if self.revision is None or self.adapter is None:
            return self.revision
        path = self.adapter / ADAPTER_FILE
        try:
            with path.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
        return f"{self.revision}+{checksum[:16]}"


def find_checkpoint(
    path_or_name: str,
    *,
    card: str | Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
) -> Checkpoint:
    """Find the files of a checkpoint, fetching or converting what is not there yet.

    The card is the one given (a file or a built-in name), else the file beside the weights, else
    the built-in one of that name.

    Raises:
        CheckpointError: nothing of that name, or a file of it is missing.
        CardError: its card cannot be found, is not valid, or is of kind reasoning.
    """
    return _find(_packed, path_or_name, card, revision, offline=offline, cache_dir=cache_dir)


def find_reasoning_checkpoint(
    path_or_name: str,
    *,
    card: str | Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
) -> Checkpoint[ReasoningCard]:
    """Do as find_checkpoint does, for a checkpoint of reasoning."""
    return _find(_reasoning, path_or_name, card, revision, offline=offline, cache_dir=cache_dir)


def is_reasoning(
    path_or_name: str,
    *,
    card: str | Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
) -> bool:
    """Say whether the card of that name is of reasoning; of a hub repository, only it is fetched.

    Raises:
        CheckpointError, CardError: as find_checkpoint.
    """
    found = locate(path_or_name, card=card, revision=revision)
    served = found.card
    if found.kind == "hub" and not card:
        repository = HubRepository(path_or_name, revision, offline=offline, cache_dir=cache_dir)
        served = repository.card() or served
    return isinstance(served, ReasoningCard)


def _find(
    narrowed: Callable[[AnyCard], Kind],
    path_or_name: str,
    card: str | Path | None,
    revision: str | None,
    *,
    offline: bool,
    cache_dir: Path | None,
) -> Checkpoint[Kind]:
    found = locate(path_or_name, card=card, revision=revision)
    if found.kind == "hub":
        repository = HubRepository(path_or_name, revision, offline=offline, cache_dir=cache_dir)
        return _hub(narrowed, path_or_name, repository, found, is_card_given=bool(card))
    assert found.card is not None
    assert found.card_file is not None
    served = narrowed(found.card)
    adapter = _adapter(served, found.card_file)
    if found.kind == "folder":
        return Checkpoint(served, expand_user(path_or_name), None, adapter)
    assert not isinstance(served, YesNoCard)
    assert served.weights is not None
    folder = converted_folder(served.weights, served.last_layer, cache_folder(cache_dir))
    return Checkpoint(served, folder, served.weights.sha256[:16], adapter)


def _packed(card: AnyCard) -> PackedCard:
    if isinstance(card, ReasoningCard):
        raise CardError(
            f"card {card.name} is of kind {card.kind}, and attention or yes_no is needed here"
        )
    return card


def _reasoning(card: AnyCard) -> ReasoningCard:
    if not isinstance(card, ReasoningCard):
        raise CardError(f"card {card.name} is of kind {card.kind}, and reasoning is needed here")
    return card


def _hub(
    narrowed: Callable[[AnyCard], Kind],
    name: str,
    repository: HubRepository,
    found: Location,
    *,
    is_card_given: bool,
) -> Checkpoint[Kind]:
    own = None if is_card_given else repository.card()
    served = own or found.card
    if served is None:
        raise CheckpointError(
            f"{name} has no {CARD_FILE} and no built-in card: name one (models/README.md)"
        )
    card = narrowed(served)
    if card.adapter is not None and not is_card_given:
        raise CheckpointError(
            f"{name}: the adapter of a card on the hub is not fetched; pass adapter="
        )
    folder = repository.fetch_weights(card.last_layer)
    adapter = _adapter(card, found.card_file) if is_card_given and found.card_file else None
    return Checkpoint(card, folder, repository.commit, adapter)


def _adapter(card: AnyCard, file: Path) -> Path | None:
    return file.parent / card.adapter if card.adapter is not None else None
