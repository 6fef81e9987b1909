"""Runs the checkpoint's tokenizer, with control tokens out of reach of a caller's text."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import stand_in_at

TokenIds = NDArray[np.int32]

# Few ordinary tokens of the supported families stand for more characters. Where they do, head takes
# a longer cut: the number changes its speed, not its result.
_CHARACTERS_PER_TOKEN = 16
# Tokens near a cut may differ from those of the uncut text; this many are thrown away.
_PROVISIONAL_TOKENS = 32


class Token(NamedTuple):
    """Holds a token's id, and the characters start .. stop of the text that it stands for."""

    id: int
    start: int
    stop: int


class TextTokenizer:
    """Knows the ids of text and of control tokens, and never mixes them up. Thread-safe.

    Args:
        path: names the checkpoint's tokenizer.json.

    Raises:
        CheckpointError: the file is missing or is not a tokenizer.
    """

    def __init__(self, path: Path) -> None:
        try:
            definition = json.loads(path.read_bytes())
            # Every added token, not only those marked special: <think> and <tool_call> are
            # control to the model too, and must not be had by writing them.
            for token in definition["added_tokens"]:
                token["special"] = True
            self._tokenizer = Tokenizer.from_str(json.dumps(definition))
        except FileNotFoundError as error:
            raise CheckpointError(f"no tokenizer.json in {path.parent}") from error
        except Exception as error:  # the tokenizers library raises bare Exception
            reason = stand_in_at(path) or f"is not a tokenizer: {error}"
            raise CheckpointError(f"{path} {reason}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._control = {t["content"]: int(t["id"]) for t in definition["added_tokens"]}

    def control_id(self, token: str) -> int:
        """Look up the id of a control token.

        Raises:
            CheckpointError: the tokenizer has no such control token.
        """
        try:
            return self._control[token]
        except KeyError:
            raise CheckpointError(f"the tokenizer has no control token {token!r}") from None

    @property
    def num_tokens(self) -> int:
        """Count the ids that stand for a token; a network's head may have more rows."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def _of_written(self) -> Tokenizer:
        """Copy the tokenizer; a copy takes spelt-out control tokens for what they are."""
        return Tokenizer.from_str(self._tokenizer.to_str())

    def encode_written(self, text: str) -> list[int]:
        """Return the ids of what a model wrote, in which control tokens are spelt out.

        It is not for a caller's text, which would become control tokens.
        """
        return self._of_written.encode(text, add_special_tokens=False).ids

    def encode(self, text: str) -> Encoding:
        """Find ids and character offsets of text; nothing in it is taken for a control token."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def encode_many(self, texts: Sequence[str]) -> list[TokenIds]:
        """Tokenise each text alone."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoding]:
        """Do as encode does, with many texts."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, with control tokens spelt out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def heads(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return all of each text, or so much that its first max_tokens + 1 ids are final.

        This spares the tokenising of megabytes of which a few hundred tokens are kept.
        """
        found, size = list(texts), max_tokens * _CHARACTERS_PER_TOKEN
        longer = [i for i, text in enumerate(texts) if size < len(text)]
        while longer:
            starts = [texts[i][:size] for i in longer]
            for i, start, ids in zip(longer, starts, self.encode_many(starts), strict=True):
                if len(ids) > max_tokens + _PROVISIONAL_TOKENS:
                    found[i] = start
            size *= 2
            longer = [i for i in longer if found[i] is texts[i] and size < len(texts[i])]
        return found

    def cut(self, texts: Sequence[str], max_tokens: int) -> list[tuple[str, int]]:
        """Cut each text after its first max_tokens tokens; also count the tokens it had.

        The count is exact for text that fits and a lower bound above the limit for text cut.
        """
        heads = self.heads(texts, max_tokens)
        encodings = self.encode_with_offsets(heads)
        return [
            (
                head
                if len(encoding.ids) <= max_tokens
                else head[: encoding.offsets[max_tokens - 1][1]],
                len(encoding.ids),
            )
            for head, encoding in zip(heads, encodings, strict=True)
        ]
