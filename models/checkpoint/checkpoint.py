"""Finds a checkpoint's card and folder of files by its name: embedded, local folder or hub."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import platformdirs

from blockrank_server.models.checkpoint.adapter import ADAPTER_FILE
from blockrank_server.models.checkpoint.card import CARD_FILE, Card, built_in_cards, load_card
from blockrank_server.models.checkpoint.gguf import converted_folder
from blockrank_server.models.checkpoint.hub import HubRepository, is_hub_name
from blockrank_server.models.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What it takes to open a ranker.

    Attributes:
        folder: holds config.json, tokenizer.json and the safetensors.
        revision: commit of a hub repository, start of the checksum of an embedded file, or None.
        adapter: folder of the adapter to merge, or None.
    """

    card: Card
    folder: Path
    revision: str | None
    adapter: Path | None

    def with_adapter(self, folder: Path | None) -> Self:
        """Replace the card's adapter by another one, if one is given."""
        return self if folder is None else replace(self, adapter=folder)

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
    card: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
) -> Checkpoint:
    """Find a checkpoint's files, fetching or converting what is not there yet.

    The card is the one given, else the file beside the weights, else the built-in one of that name.

    Raises:
        CheckpointError: nothing of that name, or a file of it is missing.
        CardError: its card is not valid.
    """
    folder = Path(path_or_name).expanduser()
    if folder.is_dir():
        _refuse_revision(revision, path_or_name)
        return _local(folder, card)
    built_in = built_in_cards().get(path_or_name)
    if built_in is not None and (found := load_card(card or built_in)).weights is not None:
        _refuse_revision(revision, path_or_name)
        return _embedded(found, card or built_in, cache_dir)
    if not is_hub_name(path_or_name):
        raise CheckpointError(
            f"model {path_or_name!r} is no folder, no hub name (owner/name) and none of "
            f"{', '.join(built_in_cards())}"
        )
    return _hub(path_or_name, card or built_in, revision, offline, cache_dir, given=card)


def _local(folder: Path, card: Path | None) -> Checkpoint:
    path = card or folder / CARD_FILE
    if not path.exists():
        raise CheckpointError(
            f"{path} is missing: put a card beside the weights, or name one (models/README.md)"
        )
    found = load_card(path)
    return Checkpoint(found, folder, None, _adapter(found, path))


def _embedded(card: Card, path: Path, cache_dir: Path | None) -> Checkpoint:
    assert card.weights is not None
    cache = cache_dir or platformdirs.user_cache_path("blockrank-server")
    folder = converted_folder(card.weights, card.last_layer, cache)
    return Checkpoint(card, folder, card.weights.sha256[:16], _adapter(card, path))


def _hub(
    name: str,
    fallback: Path | None,
    revision: str | None,
    offline: bool,
    cache_dir: Path | None,
    *,
    given: Path | None,
) -> Checkpoint:
    cache = cache_dir / "hub" if cache_dir else None
    repository = HubRepository(name, revision, offline=offline, cache_dir=cache)
    card = load_card(given) if given else repository.card()
    if card is None and fallback is not None:
        card = load_card(fallback)
    if card is None:
        raise CheckpointError(
            f"{name} has no {CARD_FILE} and no built-in card: name one (models/README.md)"
        )
    if card.adapter is not None and given is None:
        raise CheckpointError(
            f"{name}: the adapter of a card on the hub is not fetched; pass adapter="
        )
    folder = repository.fetch_weights(card.last_layer)
    return Checkpoint(card, folder, repository.commit, _adapter(card, given) if given else None)


def _adapter(card: Card, path: Path) -> Path | None:
    return path.parent / card.adapter if card.adapter is not None else None


def _refuse_revision(revision: str | None, name: str) -> None:
    if revision is not None:
        raise CheckpointError(f"revision {revision!r} applies to hub names, not to {name!r}")
