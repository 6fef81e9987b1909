"""Finds a checkpoint of reasoning without its weights, for an engine that has them elsewhere.

torch is not imported, but for an embedded model, which is converted whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockrank_server.models.checkpoint.any_card import check_remote
from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.checkpoint.hub import HubRepository
from blockrank_server.models.checkpoint.location import CONFIG_FILE, locate
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard, ends_of_text
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.paths import expand_user


@dataclass(frozen=True, slots=True)
class TokensOnly:
    """Holds the card of a checkpoint and what its config says of tokens.

    Attributes:
        folder: has config.json and tokenizer.json.
        revision: commit of a hub repository, start of the checksum of an embedded file, or None.
        ends_of_text: the ids with which the model ends a text.
    """

    card: ReasoningCard
    folder: Path
    revision: str | None
    ends_of_text: tuple[int, ...]
    max_positions: int
    num_layers: int


def find_tokens(
    path_or_name: str,
    *,
    card: str | Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
) -> TokensOnly:
    """Find card, config and tokenizer as find_reasoning_checkpoint does, fetching no weights.

    Raises:
        CheckpointError: nothing of that name, or a file of it is missing or broken.
        CardError: its card cannot be found, is not valid, or is of another kind.
    """
    found = locate(path_or_name, card=card, revision=revision)
    served, commit = found.card, None
    if found.kind == "hub":
        repository = HubRepository(path_or_name, revision, offline=offline, cache_dir=cache_dir)
        served = served if card else repository.card() or served
        folder, commit = repository.fetch_tokenizer(), repository.commit
    elif found.kind == "folder":
        folder = expand_user(path_or_name)
    else:
        # Here and not on top: it imports torch.
        from blockrank_server.models.checkpoint.checkpoint import (  # noqa: PLC0415
            find_reasoning_checkpoint,
        )

        embedded = find_reasoning_checkpoint(path_or_name, card=card, cache_dir=cache_dir)
        folder, commit = embedded.folder, embedded.revision
    if served is None:
        raise CheckpointError(f"{path_or_name} has no {CARD_FILE} and no built-in card: name one")
    return _described(check_remote(served), folder, commit)


def _described(card: ReasoningCard, folder: Path, commit: str | None) -> TokensOnly:
    path = folder / CONFIG_FILE
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
        return TokensOnly(
            card,
            folder,
            commit,
            ends_of_text(fields.get("eos_token_id")),
            int(fields["max_position_embeddings"]),
            int(fields["num_hidden_layers"]),
        )
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a model's config: {error!r}") from error
