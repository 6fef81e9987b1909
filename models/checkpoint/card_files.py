"""Finds and reads the files of cards."""

import json
from pathlib import Path

from pydantic import ValidationError

from blockrank_server.models.checkpoint.card_kinds import KINDS, AnyCard
from blockrank_server.models.errors import CardError
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.files.stand_in import stand_in
from blockrank_server.models.files.text import TextError, broken_json, read_text

CARD_FILE = "rerank_card.json"
BUILT_IN = Path(__file__).parents[1] / "cards"


def load_card(path: Path) -> AnyCard:
    """Read and validate a card of any kind.

    Raises:
        CardError: naming the file and each field at fault.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise CardError(f"cannot read card {path}: {error.strerror}") from error
    except TextError as error:
        raise CardError(f"card {error}") from error
    if not text:
        raise CardError(f"card {path} {stand_in(b'')}")
    try:
        if fault := broken_json(text, allows_nul=False):
            raise CardError(f"card {path}: {fault}")
        return _kind(path, text).model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors()
        )
        raise CardError(f"card {path}: {faults}") from error


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


def _kind(path: Path, text: str) -> type[AnyCard]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return KINDS[None]  # which tells what is wrong
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str | None) or kind not in KINDS:
        raise CardError(f"card {path}: kind is not one of {', '.join(filter(None, KINDS))}")
    return KINDS[kind]
