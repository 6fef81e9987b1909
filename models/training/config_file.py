"""From a YAML file and assignments to a validated config; faults are told by file, line and key."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from blockrank_server.models.training import config as definitions
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError
from blockrank_server.models.training.yaml_file import YamlFile

_KEYS = sorted(
    {
        name
        for model in vars(definitions).values()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    }
)


def load_train_config(path: Path, assignments: Sequence[str] = ()) -> TrainConfig:
    """Read and validate a run's config.

    Args:
        path: YAML file.
        assignments: KEY=VALUE each, such as "loss.temperature=0.1"; they win over the file.

    Raises:
        ConfigError: naming file, line and key of each fault.
    """
    file = YamlFile.read(path)
    fields: dict[str, Any] = file.content
    given = [_assign(fields, assignment) for assignment in assignments]
    try:
        return TrainConfig.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        # A list that lacks its faulty items is not a fault of its own.
        inner = {e["loc"][:n] for e in found for n in range(len(e["loc"]))}
        faults = [
            file.describe(e["loc"], _problem(e), given) for e in found if e["loc"] not in inner
        ]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from error


def _assign(fields: dict[str, Any], assignment: str) -> tuple[str, ...]:
    """Set a key of nested fields and return it."""
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE")
    *parents, last = keys = tuple(key.split("."))
    for parent in parents:
        if fields.get(parent) is None:
            fields[parent] = {}
        fields = fields[parent]
        if not isinstance(fields, dict):
            raise ConfigError(f"--set {assignment}: {parent} holds no keys")
    fields[last] = YamlFile.parse_value(value)
    return keys


def _problem(error: Any) -> str:
    """What pydantic found, with a guess at the key that was meant."""
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    near = difflib.get_close_matches(str(error["loc"][-1]), _KEYS, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"
