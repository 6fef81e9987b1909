"""Defines the card: all that differs between rerankers, as validated JSON beside the weights.

The engine has no branch on a model's name. A new checkpoint of a supported family (Llama, Mistral,
Qwen2, Qwen3) needs a card and nothing else. models/README.md lists every field.
"""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from blockrank_server.models.checkpoint.calibration import Calibration
from blockrank_server.models.checkpoint.prompt_template import PromptTemplate
from blockrank_server.models.checkpoint.request_limits import RequestLimits
from blockrank_server.models.errors import CardError
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.files.stand_in import stand_in
from blockrank_server.models.files.text import TextError, broken_json, read_text

CARD_FILE = "rerank_card.json"
BUILT_IN = Path(__file__).parents[1] / "cards"

Kind = TypeVar("Kind", bound=BaseModel)


class Positions(BaseModel, extra="forbid", frozen=True):
    """Says which rotary positions tokens have. The prefix always has 0 .. P-1."""

    documents: Literal["shared", "sequential"] = Field(
        description="shared: every document starts at P. sequential: as in the packed prompt."
    )
    tail_offset: int | None = Field(
        default=None, gt=0, description="Position of the tail's first token; null if sequential."
    )


class ReadPoint(BaseModel, extra="forbid", frozen=True):
    """Names heads of one layer whose attention is read."""

    layer: int = Field(ge=0, description="0-based decoder layer.")
    heads: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        description="0-based query heads, or all of them."
    )


class Signal(BaseModel, extra="forbid", frozen=True):
    """Names the tokens of the tail whose attention is read."""

    tokens: Literal["last", "query"] = Field(
        description="last: the final tokens of the tail. query: those of its last {query}."
    )
    count: int | None = Field(default=None, gt=0, description="How many, with tokens = last.")


class Weights(BaseModel, extra="forbid", frozen=True):
    """Says where the tensors are, when not in *.safetensors beside config.json."""

    package: str = Field(description="Installed Python package that holds the file.")
    file: str = Field(description="GGUF file inside the package.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of that file; checked.")
    install: str = Field(description="Command to show when the package is missing.")


class Card(BaseModel, extra="forbid", frozen=True):
    """Holds all that the engine must know about one reranker."""

    card_version: Literal[1] = Field(description="Version of this format.")
    kind: Literal["attention"] = Field(
        default="attention", description="Tells this card from one of reasoning."
    )
    name: str = Field(min_length=1, max_length=200, description="Name shown to clients.")
    description: str = Field(default="", description="One sentence for people.")
    source: str = Field(default="", description="Paper, repository, licence.")
    weights: Weights | None = Field(default=None, description="null: safetensors in the folder.")
    adapter: str | None = Field(
        default=None, description="Folder of a PEFT LoRA adapter, relative to the card; merged."
    )
    mask: Literal["block", "causal"] = Field(
        description="block: a document sees the prefix and itself, the tail sees everything. "
        "causal: every token sees all before it."
    )
    document_attention: Literal["causal", "full"] = Field(
        default="causal",
        description="causal: a token sees the prefix and its document up to itself. full: the "
        "prefix and its whole document, as in LLM2Vec (arXiv:2404.05961).",
    )
    tail_stride: int = Field(
        default=1,
        gt=0,
        description="k: of each document the tail sees the last of every k tokens, and the very "
        "last. 1: all of them.",
    )
    prompt: PromptTemplate = Field(description="Templates of prefix, document and tail.")
    positions: Positions = Field(description="Rotary positions of documents and tail.")
    read: tuple[ReadPoint, ...] = Field(min_length=1, description="Layers and heads to read.")
    signal: Signal = Field(description="Query-side tokens to read.")
    normalise_over: Literal["documents", "all"] = Field(
        description="Softmax over the documents' scored tokens, or over everything the token sees."
    )
    reduce_tokens: Literal["mean", "geometric_mean"] = Field(
        default="mean", description="How signal tokens are put together, before the heads."
    )
    reduce_heads: Literal["mean", "sum"] = Field(description="How heads are put together.")
    calibration: Calibration | None = Field(
        default=None, description="Makes probabilities of scores; null: they stay shares."
    )
    limits: RequestLimits = Field(description="Documents and tokens of one request.")
    int8_kept: tuple[str, ...] | None = Field(
        default=None,
        description="Linear layers that dynamic_int8 leaves as they are. null: not measured.",
    )
    reusable_documents: bool = Field(
        description="A document's keys and values depend on nothing but prefix and its own text."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem, wrong in self._contradictions().items():
            if wrong:
                raise ValueError(problem)
        return self

    def _contradictions(self) -> dict[str, bool]:
        prompt, block = self.prompt, self.mask == "block"
        layers = [point.layer for point in self.read]
        shared = self.positions.documents == "shared"
        return prompt.contradictions() | {
            "mask block needs prompt.tokenise blocks": block and prompt.tokenise != "blocks",
            "shared positions need mask block": shared and not block,
            "document_attention full needs mask block": (
                self.document_attention == "full" and not block
            ),
            "tail_stride above 1 needs mask block": self.tail_stride > 1 and not block,
            "positions.tail_offset goes with documents = shared, and only with it": shared
            != (self.positions.tail_offset is not None),
            "signal.count goes with tokens = last, and only with it": (self.signal.tokens == "last")
            != (self.signal.count is not None),
            "reduce_tokens geometric_mean needs normalise_over documents": (
                self.reduce_tokens == "geometric_mean" and self.normalise_over != "documents"
            ),
            "read names a layer twice": len(set(layers)) != len(layers),
            "read names a head twice": any(
                point.heads != "all" and len(set(point.heads)) != len(point.heads)
                for point in self.read
            ),
            "reusable_documents needs mask block, shared positions, neither {query} nor {summary} "
            "in the prefix and no {number} in documents": self.reusable_documents
            and (
                not shared
                or prompt.uses("prefix", "query")
                or prompt.takes_summary
                or prompt.uses("document", "number")
            ),
        }

    @property
    def last_layer(self) -> int:
        """Return the last layer that is read, 0-based; nothing above it is loaded."""
        return max(point.layer for point in self.read)

    def num_read_heads(self, num_heads: int) -> int:
        """Count the (layer, head) pairs read, where a layer has num_heads query heads."""
        return sum(num_heads if p.heads == "all" else len(p.heads) for p in self.read)


def load_card(path: Path) -> Card:
    """Read and validate a card of attention.

    Raises:
        CardError: naming the file and each field at fault.
    """
    return parse_card(path, read_card(path), Card)


def read_card(path: Path) -> str:
    """Read the JSON of a card, of whichever kind.

    Raises:
        CardError: it cannot be read, or is not JSON.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise CardError(f"cannot read card {path}: {error.strerror}") from error
    except TextError as error:
        raise CardError(f"card {error}") from error
    if not text:
        raise CardError(f"card {path} {stand_in(b'')}")
    if fault := broken_json(text, allows_nul=False):
        raise CardError(f"card {path}: {fault}")
    return text


def parse_card(path: Path, text: str, kind: type[Kind]) -> Kind:
    """Validate the JSON of a card.

    Raises:
        CardError: naming the file and each field at fault.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors()
        )
        raise CardError(f"card {path}: {faults}") from error


def check_heads(card: Card, num_heads: int) -> None:
    """Refuse a card that reads heads the network does not have.

    Raises:
        CardError: naming layer, head and their number.
    """
    for point in card.read:
        if point.heads != "all" and (over := [h for h in point.heads if not 0 <= h < num_heads]):
            raise CardError(
                f"card {card.name}: read layer {point.layer} names head {over[0]}, "
                f"the checkpoint has {num_heads}"
            )


def built_in_cards() -> dict[str, Path]:
    """Map each name that can be opened without a card beside the weights to its built-in card."""
    return {path.stem.replace("--", "/"): path for path in sorted(BUILT_IN.glob("*.json"))}


def find_card(name_or_file: str | Path) -> Path:
    """Find the file of a card, or the built-in card of that name if there is no such file.

    Raises:
        CardError: there is neither; the built-in names are listed.
    """
    file = expand_user(name_or_file)
    if file.exists():
        return file
    built_in = built_in_cards()
    if (name := str(name_or_file)) not in built_in:
        raise CardError(f"card {name!r} is neither a file nor one of {', '.join(built_in)}")
    return built_in[name]
