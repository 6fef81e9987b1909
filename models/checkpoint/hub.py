"""Fetches the files of a Hugging Face hub repository that scores need, all of one commit."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

from blockrank_server.models.checkpoint.any_card import AnyCard, load_any_card
from blockrank_server.models.checkpoint.cache import hub_cache_folder
from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.errors import CheckpointError


class HubRepository:
    """Finds and fetches the files of one commit of a repository, in the hub's own cache.

    Args:
        name: owner/repository.
        revision: branch, tag or commit; None for the default branch.
        offline: use what the cache holds and nothing else.
        cache_dir: has the cache in its folder hub, instead of the hub's default.

    Raises:
        CheckpointError: no such repository or revision, or it is out of reach; or the cache has no
            place, or cannot be written to.
    """

    def __init__(
        self, name: str, revision: str | None, *, offline: bool, cache_dir: Path | None
    ) -> None:
        self._name, self._revision = name, revision
        self._offline, self._cache_dir = offline, hub_cache_folder(cache_dir, offline=offline)
        self.folder = self._fetch("config.json").parent
        self.commit = self._revision = self.folder.name

    def card(self) -> AnyCard | None:
        """Fetch and read the card beside the weights; None where there is none."""
        path = self._find(CARD_FILE)
        return load_any_card(path) if path else None

    def fetch_tokenizer(self) -> Path:
        """Fetch the tokenizer; return its folder."""
        self._fetch("tokenizer.json")
        return self.folder

    def fetch_weights(self, last_layer: int | None) -> Path:
        """Fetch the tokenizer and the shards of layers 0 .. last_layer; return their folder.

        Args:
            last_layer: None fetches all shards.
        """
        # Here and not on top: it imports torch, which a tokenizer alone does not need.
        from blockrank_server.models.checkpoint.weights import (  # noqa: PLC0415
            INDEX_FILE,
            SINGLE_FILE,
            is_needed,
            tensor_files,
        )

        self.fetch_tokenizer()
        if self._find(INDEX_FILE) is None:
            self._fetch(SINGLE_FILE)
            return self.folder
        files = tensor_files(self.folder).items()
        for file in sorted({file for name, file in files if is_needed(name, last_layer)}):
            self._fetch(file)
        return self.folder

    def _find(self, file: str) -> Path | None:
        try:
            return self._download(file)
        except EntryNotFoundError:
            return None

    def _fetch(self, file: str) -> Path:
        try:
            return self._download(file)
        except EntryNotFoundError as error:
            where = "cache, and offline is set" if self._offline else "repository or out of reach"
            raise CheckpointError(f"{file} of {self._name} is not in the {where}") from error

    def _download(self, file: str) -> Path:
        try:
            return Path(
                hf_hub_download(
                    self._name,
                    file,
                    revision=self._revision,
                    local_files_only=self._offline,
                    cache_dir=self._cache_dir,
                )
            )
        except EntryNotFoundError:
            raise
        except (HfHubHTTPError, HFValidationError, OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
            raise CheckpointError(f"cannot fetch {file} of {self._name}: {reason}") from error
