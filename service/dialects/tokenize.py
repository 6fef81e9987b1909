"""Describes bodies and answers of POST /tokenize, in TEI's form and vLLM's."""

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.fields import Flag, RequestBody
from blockrank_server.service.errors import EmptyFieldError, InvalidFieldError

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker

# Far more than any document may have; tokenising them takes less than a second.
_MAX_CHARACTERS = 1_000_000


class TeiToken(TypedDict):
    """Holds one token, and where it stands in its text."""

    id: int
    text: str
    special: bool
    start: int
    stop: int


class TeiTokenize(RequestBody):
    """No control token is added to a text, or found in it: they belong to the model's prompt."""

    inputs: str | list[str] = Field(description="One text, or a list of them.")
    add_special_tokens: bool | None = Field(None, description="Has no effect.")

    def answer(self, ranker: "AnyRanker") -> list[list[TeiToken]]:
        """Return the tokens of each text."""
        texts = [self.inputs] if isinstance(self.inputs, str) else self.inputs
        if not texts:
            raise EmptyFieldError("inputs is empty", field="inputs")
        _check_size(sum(map(len, texts)) + len(texts), "inputs")
        return [_tei_tokens(text, ranker) for text in texts]


def _tei_tokens(text: str, ranker: "AnyRanker") -> list[TeiToken]:
    return [
        {"id": i, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for i, start, stop in ranker.tokenize(text)
    ]


class VllmTokens(TypedDict):
    """Holds the tokens of one text; max_model_len is the longest document that is not cut."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class VllmTokenize(RequestBody):
    """No control token is added to a text, or found in it: they belong to the model's prompt."""

    prompt: str = Field(description="One text.")
    model: str | None = Field(None, description="Any name.")
    add_special_tokens: bool | None = Field(None, description="Has no effect.")
    return_token_strs: Flag = False

    def answer(self, ranker: "AnyRanker") -> VllmTokens:
        """Return the tokens of the text."""
        _check_size(len(self.prompt), "prompt")
        tokens = ranker.tokenize(self.prompt)
        strings = [self.prompt[token.start : token.stop] for token in tokens]
        return {
            "count": len(tokens),
            "max_model_len": ranker.card.limits.max_document_tokens,
            "tokens": [token.id for token in tokens],
            "token_strs": strings if self.return_token_strs else None,
        }


def _check_size(num_characters: int, field: str) -> None:
    if num_characters > _MAX_CHARACTERS:
        raise InvalidFieldError(
            f"{field} holds {num_characters} characters, the limit is {_MAX_CHARACTERS}",
            field=field,
        )
