"""Checks for packages that only some commands need."""

from collections.abc import Mapping
from importlib.util import find_spec

from blockrank_server.service.cli.exit_codes import UsageError

# By extra: the distributions it brings, by the module each holds.
_EXTRAS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {"ir_measures": "ir-measures", "matplotlib": "matplotlib", "scipy": "scipy"},
    "train": {"datasets": "datasets", "peft": "peft", "ruamel": "ruamel.yaml"},
}


def check_installed(extra: str) -> None:
    """Refuse to begin without what an extra brings.

    Raises:
        UsageError: naming what is missing, and the command that installs it.
    """
    if missing := [name for module, name in _EXTRAS[extra].items() if find_spec(module) is None]:
        raise UsageError(f"{', '.join(missing)} missing: pip install 'blockrank-server[{extra}]'")
