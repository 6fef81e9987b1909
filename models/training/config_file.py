"""Reads a YAML file and assignments into a valid config; faults are told by file, line and key."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from blockrank_server.models.data.source import Source
from blockrank_server.models.files.text import TextError, broken_text, read_text
from blockrank_server.models.training.config import Logging, Lora, Loss, Optimizer, TrainConfig
from blockrank_server.models.training.data_config import Data
from blockrank_server.models.training.errors import ConfigError

_SECTIONS = (TrainConfig, Data, Source, Loss, Lora, Optimizer, Logging)
_KEYS = sorted({key for section in _SECTIONS for key in section.model_fields})


def load_train_config(path: Path, assignments: Sequence[str] = ()) -> TrainConfig:
    """Read and validate the config of a run.

    Args:
        path: YAML file.
        assignments: KEY=VALUE each, such as "loss.temperature=0.1"; they win over the file.

    Raises:
        ConfigError: something is at fault; told by file, line and key.
    """
    fields = _read(path)
    given = [_assign(fields, assignment) for assignment in assignments]
    _check_text(path, fields, given)
    try:
        return TrainConfig.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        # A list that lacks its faulty items is not a fault of its own.
        inner = {e["loc"][:n] for e in found for n in range(len(e["loc"]))}
        faults = [
            f"{_place(path, fields, e['loc'], given)}{_problem(e)}"
            for e in found
            if e["loc"] not in inner
        ]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from error


def _read(path: Path) -> CommentedMap:
    try:
        fields = _parse(YAML(), read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except TextError as error:
        raise ConfigError(str(error)) from error
    except YAMLError as error:
        raise ConfigError(f"{path}{_yaml_problem(error)}") from error
    if not isinstance(fields, CommentedMap):
        raise ConfigError(f"{path}: expected keys and values")
    return fields


def _parse(reader: YAML, text: str) -> Any:
    """Return what YAML spells.

    Raises:
        YAMLError: it is no YAML, or a value cannot be: a date of month 13, lists without an end.
    """
    try:
        return reader.load(text)
    except RecursionError as error:
        raise YAMLError("nested too deeply") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise YAMLError(f"a value that cannot be: {error}") from error


def _check_text(path: Path, fields: CommentedMap, given: Sequence[tuple[str, ...]]) -> None:
    """Refuse text that no file and no name can hold.

    Raises:
        ConfigError: naming file, line and key.
    """
    for key, value in fields.items():
        try:
            fault = broken_text({key: value}, allows_nul=False)
        except RecursionError as error:
            raise ConfigError(f"{path}: {key}: nested too deeply") from error
        if fault:
            place = _place(path, fields, (key,), given).removesuffix(f"{key}: ")
            raise ConfigError(f"{place}{fault}")


def _assign(fields: CommentedMap, assignment: str) -> tuple[str, ...]:
    """Set a key of nested fields and return it."""
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE")
    *parents, last = keys = tuple(key.split("."))
    holder: Any = fields
    for parent in parents:
        if holder.get(parent) is None:
            holder[parent] = {}
        holder = holder[parent]
        if not isinstance(holder, dict):
            raise ConfigError(f"--set {assignment}: {parent} holds no keys")
    try:
        holder[last] = _parse(YAML(typ="safe", pure=True), value)
    except YAMLError as error:
        raise ConfigError(f"{value!r} is no value{_yaml_problem(error)}") from error
    return keys


def _place(
    path: Path,
    fields: CommentedMap,
    keys: Sequence[str | int],
    given: Sequence[tuple[str, ...]],
) -> str:
    """Return file, line and key of a fault, or the assignment that it came from.

    Args:
        fields: the content of the file, with the assignments.
        keys: they lead to the value at fault; the last ones may be missing in the file.
        given: the keys that were assigned.
    """
    node: Any = fields
    line, named = fields.lc.line, []
    for key in keys:
        # What was assigned is of plain types: only what the file holds has lines.
        lines = node.lc.data or {} if isinstance(node, CommentedMap | CommentedSeq) else {}
        if key not in lines:
            if isinstance(node, dict) and isinstance(key, str):
                named.append(key)
            break
        node, line = node[key], lines[key][0]
        named.append(str(key))
    name = ".".join(named)
    if any(f"{name}.".startswith(f"{'.'.join(parts)}.") for parts in given):
        return f"--set {name}: "
    return f"{path}:{line + 1}: {f'{name}: ' if name else ''}"


def _problem(error: Any) -> str:
    """Tell what pydantic found, with a guess at the key that was meant."""
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    near = difflib.get_close_matches(str(error["loc"][-1]), _KEYS, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _yaml_problem(error: YAMLError) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f": {error}"
    problem = error.problem
    if isinstance(error, DuplicateKeyError):  # its own text shows both values, on several lines
        _, key, *_ = problem.split('"')
        problem = f"the key {key!r} is given twice"
    return f":{error.problem_mark.line + 1}: {problem}"
