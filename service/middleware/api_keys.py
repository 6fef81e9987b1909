"""Keeps the API keys in force: of the settings, and of a file that may change meanwhile.

Only digests are kept. No error and no log line holds a key, a part of one, or a line of the file.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from blockrank_server.service.settings import Settings

# Printable ASCII without space, comma and colon, which separate keys and names.
_KEY = r"[!-+\--9;-~]{1,256}"
_KEY_WORDS = "a key is 1 to 256 printable ASCII characters without space, comma and colon"
_NAME_WORDS = "a name is 1 to 64 letters, digits, '.', '_' and '-'"
_LISTED = re.compile(_KEY)
_LINE = re.compile(rf"(?:(?P<name>[A-Za-z0-9._-]{{1,64}}):)?(?P<key>{_KEY})")


class ApiKeysError(ValueError):
    """The keys cannot be used: the text names the file and the line, never a key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Knows a key by its digest alone.

    Attributes:
        digest: the SHA-256 of the key.
        name: what the file calls it; fit for logs.
    """

    digest: bytes
    name: str | None = None


class ApiKeys:
    """Holds every key in force, of api_keys and of api_keys_file.

    Raises:
        ApiKeysError: a key is malformed, or the file cannot be read, repeats a key or has none.
    """

    def __init__(self, settings: Settings) -> None:
        self._listed = _listed(settings.api_keys) if settings.api_keys is not None else ()
        self._path = settings.api_keys_file
        self._version = _version(self._path) if self._path else None
        self._filed = _read(self._path) if self._path else ()
        self._log = structlog.get_logger(__name__)

    @property
    def are_required(self) -> bool:
        """Say whether requests need a key. Never changes: a file without keys is an error."""
        return bool(self._listed) or self._path is not None

    def find(self, given: Iterable[str]) -> ApiKey | None:
        """Find the key in force among those given; the time does not tell how they differ."""
        self._refresh()
        found = None
        for digest in [_digest(each) for each in given]:
            for key in (*self._listed, *self._filed):
                if hmac.compare_digest(key.digest, digest):
                    found = key
        return found

    def _refresh(self) -> None:
        """Read the file if it is another than the last time; keep the last good keys if it is bad.

        One stat of a local file takes microseconds, so there is no watcher to fail.
        """
        if self._path is None or (version := _version(self._path)) == self._version:
            return
        self._version = version  # before the file is read: a write meanwhile is seen next time
        try:
            self._filed = _read(self._path)
        except ApiKeysError as error:
            self._log.error("API keys not read, the last ones stay in force", error=str(error))
        else:
            self._log.info("API keys read", num_keys=len(self._filed))


def _version(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when the file is written, replaced, or has other permissions."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ApiKeysError(f"api_keys_file {path}: {error.strerror}") from None
    keys: list[ApiKey] = []
    line_of: dict[bytes, int] = {}
    for number, line in enumerate(raw.decode("utf-8-sig", "replace").split("\n"), 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        at = f"api_keys_file {path}, line {number}"
        if (match := _LINE.fullmatch(text)) is None:
            raise ApiKeysError(f"{at} is not key or name:key; {_KEY_WORDS}; {_NAME_WORDS}")
        key = ApiKey(_digest(match["key"]), match["name"])
        if key.digest in line_of:
            raise ApiKeysError(f"{at} repeats the key of line {line_of[key.digest]}")
        line_of[key.digest] = number
        keys.append(key)
    if not keys:
        raise ApiKeysError(f"api_keys_file {path} holds no key")
    return tuple(keys)


def _listed(secret: SecretStr) -> tuple[ApiKey, ...]:
    parts = [part.strip() for part in secret.get_secret_value().split(",")]
    for number, part in enumerate(parts, 1):
        if not _LISTED.fullmatch(part):
            raise ApiKeysError(
                f"api_keys, key {number} of {len(parts)} is not a key: {_KEY_WORDS}; "
                "names are for api_keys_file"
            )
    return tuple(ApiKey(_digest(part)) for part in parts)


def _digest(key: str) -> bytes:
    # Headers are latin-1, so whatever was sent can be encoded.
    return hashlib.sha256(key.encode("latin-1")).digest()
