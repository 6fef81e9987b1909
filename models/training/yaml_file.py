"""A YAML file whose faults can be told by line."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from blockrank_server.models.training.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML's own loader keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class YamlFile:
    """A mapping read from a file.

    Attributes:
        path: of the file.
        content: as read.
        root: the same with positions.
    """

    path: Path
    content: dict[str, Any]
    root: yaml.Node

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            ConfigError: it is missing, no YAML, or no mapping.
        """
        try:
            text = path.read_text(encoding="utf-8")
            root = yaml.compose(text, _Loader)
            content = yaml.load(text, _Loader)  # nosec B506
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}{_position(error)}") from error
        if root is None or not isinstance(content, dict):
            raise ConfigError(f"{path}: expected keys and values")
        return cls(path, content, root)

    @staticmethod
    def parse_value(text: str) -> Any:
        """A value as YAML reads it: 3, 0.1, null, [8, 24], text.

        Raises:
            ConfigError: it is no YAML.
        """
        try:
            return yaml.load(text, _Loader)  # nosec B506
        except yaml.YAMLError as error:
            raise ConfigError(f"{text!r} is no value{_position(error)}") from error

    def describe(
        self, keys: Sequence[str | int], problem: str, given: Sequence[tuple[str, ...]] = ()
    ) -> str:
        """A fault with file, line and key.

        Args:
            keys: path to the value at fault; the last ones may be missing in the file.
            problem: what is wrong.
            given: keys that did not come from the file.
        """
        node, line, named = self.root, self.root.start_mark.line, []
        for key in keys:
            found = _child(node, key)
            if found is None:
                if isinstance(node, yaml.MappingNode) and isinstance(key, str):
                    named.append(key)
                break
            node, line = found
            named.append(str(key))
        name = ".".join(named)
        if any(".".join(parts) == name for parts in given):
            return f"--set {name}: {problem}"
        return f"{self.path}:{line + 1}: {f'{name}: ' if name else ''}{problem}"


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    """The value of a key and the key's line, counted from 0."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value, name.start_mark.line
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line
    return None


def _position(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f":{error.problem_mark.line + 1}: {error.problem}"
    return f": {error}"
