"""Holds what the commands share: settings as flags and from flags, checks before a start."""

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from blockrank_server.models.checkpoint.any_card import check_remote
from blockrank_server.models.checkpoint.cache import cache_folder, check_hub_cache
from blockrank_server.models.checkpoint.location import locate
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard, check_settings
from blockrank_server.models.document_cache.store_folder import check_owner
from blockrank_server.models.engine.cuda_driver import check_device
from blockrank_server.models.errors import RankerError
from blockrank_server.models.files.paths import expand_user, obstacle
from blockrank_server.models.files.text import broken_text
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.parser import CommandParser
from blockrank_server.service.settings import Settings, variable_name

MODEL_SETTINGS = (
    *("model", "card", "adapter", "revision", "offline", "device", "dtype", "quantization"),
    *("cache_dir", "num_torch_threads"),
)
"""Settings of commands that open a model and do not serve it."""

_METAVARS: Mapping[type, str] = {int: "N", float: "N", Path: "PATH"}


def add_settings(parser: CommandParser, names: Iterable[str]) -> None:
    """Add a flag for each of these fields of Settings, which validates the values.

    argparse makes them and not pydantic-settings: there a secret is a flag like any other, a
    command has no flags beside its settings, and an error takes many lines.
    """
    for name in names:
        if flag := flag_name(name):
            parser.add_argument(flag, dest=name, default=None, **_argument(name))
        else:
            parser.refuse(
                f"--{name.replace('_', '-')}",
                f"{name} is no flag, for other users of the machine could read it: set "
                f"{variable_name(name)}{_or_a_file(name)}",
            )


def _or_a_file(name: str) -> str:
    file = f"{name}_file"
    return f" or give a file ({flag_name(file)})" if file in Settings.model_fields else ""


def flag_name(name: str) -> str | None:
    """Return the flag of a field of Settings; None for a secret, which has none."""
    return None if _kind(name) is SecretStr else f"--{name.replace('_', '-')}"


def shown_default(name: str) -> str:
    """Return the default of a field of Settings, as it would be typed."""
    default = Settings.model_fields[name].default
    if default is None or default == ():
        return "unset"
    return str(default).lower() if isinstance(default, bool) else str(default)


def read_settings(options: argparse.Namespace) -> Settings:
    """Read settings from the environment, and from flags, which win.

    Raises:
        UsageError: naming every setting at fault as it was given.
    """
    flags = {
        name: value
        for name in Settings.model_fields
        if (value := getattr(options, name, None)) is not None
    }
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise UsageError("; ".join(_fault(each, flags) for each in error.errors())) from error


def check_model(settings: Settings, *, is_loaded: bool = True) -> None:
    """Refuse a model, card, cache or device that cannot be used, before anything slow begins.

    Args:
        is_loaded: the model will be opened, which takes a cache.

    Raises:
        UsageError: saying why, and what is possible.
    """
    try:
        found = locate(settings.model, card=settings.card, revision=settings.revision)
        if settings.engine_url is not None and found.card is not None:
            check_remote(found.card)
        if isinstance(found.card, ReasoningCard):
            check_settings(
                adapter=settings.adapter,
                quantization=settings.quantization,
                document_cache_bytes=settings.document_cache_bytes,
            )
        if is_loaded and found.kind == "embedded":
            cache_folder(settings.cache_dir)
        if is_loaded and found.kind == "hub":
            check_hub_cache(settings.cache_dir)
        check_device(settings.device)
        _check_store(settings)
    except RankerError as error:
        raise UsageError(str(error)) from error
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise UsageError(f"{error.filename}: {error.strerror}") from error


def _check_store(settings: Settings) -> None:
    """Refuse a document store that the model would refuse only once it is loaded."""
    if settings.document_store is None:
        return
    if settings.document_cache_bytes == 0:
        raise UsageError("document_store needs document_cache_bytes: auto, or a number of bytes")
    folder = expand_user(settings.document_store)
    check_owner(folder)
    if fault := obstacle(folder):
        raise UsageError(f"document_store {folder}: {fault}")


def add_data_flags(parser: CommandParser) -> None:
    """Add the sets of lists with judgements that a command reads."""
    parser.add_argument("data", metavar="DATA", type=Path, nargs="+", help="Sets of lists.")
    parser.add_argument("--sets", metavar="NAME", nargs="+", help="Some of the sets. Default: all.")


def check_output(flag: str, folder: Path) -> None:
    """Refuse a folder that nothing can be written to, before the work is done in vain.

    Raises:
        UsageError: naming the flag, and what is in the way.
    """
    try:
        fault = obstacle(folder)
    except OSError as error:
        fault = error.strerror
    if fault:
        raise UsageError(f"{flag} {folder}: {fault}")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Tell of what cannot be read, such as a folder of somebody else, as of wrong usage.

    Raises:
        UsageError: naming what the system refused, and why.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error


def check_text(flag: str, text: str) -> None:
    """Refuse what a terminal of another encoding has sent.

    Raises:
        UsageError: it is no UTF-8.
    """
    if broken_text(text):
        raise UsageError(f"{flag} is not UTF-8")


def positive(text: str) -> int:
    """Parse a whole number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _argument(name: str) -> dict[str, Any]:
    """Return what argparse is told of a setting."""
    text = f"{Settings.model_fields[name].description} Default: {shown_default(name)}."
    told: dict[str, Any] = {"help": text.replace("%", "%%")}
    kind = _kind(name)
    if kind is bool:
        return told | {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return told | {"choices": get_args(kind)}
    return told | {"metavar": _METAVARS.get(kind, name.rpartition("_")[2].upper())}


def _kind(name: str) -> Any:
    """Return the type of a field of Settings, which may be None too."""
    kind = Settings.model_fields[name].annotation
    parts = [part for part in get_args(kind) if part is not type(None)]
    return parts[0] if type(None) in get_args(kind) else kind


def _fault(error: ErrorDetails, flags: Mapping[str, object]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    return f"{flag_name(name) if name in flags else variable_name(name)}: {message}"
