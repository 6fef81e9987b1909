"""Writes a calibration into a card's file, and leaves the rest of it as somebody laid it out."""

import json
import re
from pathlib import Path

from blockrank_server.models.checkpoint.calibration import Calibration
from blockrank_server.models.files.output_file import write_text

_LIMITS = re.compile(r'(\s*)"limits"\s*:')
_BEFORE = re.compile(r'\s*"calibration"\s*:\s*(?:\{[^{}]*\}|null)\s*,')


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put it in the place of the one that is there, if any is.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it is no JSON object.
    """
    text = path.read_text(encoding="utf-8")
    expected = json.loads(text) | {"calibration": calibration.model_dump(mode="json")}
    own = json.dumps(expected["calibration"], ensure_ascii=False)
    # In front of the limits, which every card has, so that it needs no comma before it.
    rest = _BEFORE.sub("", text, count=1)
    written = _LIMITS.sub(lambda found: f'{found[1]}"calibration": {own},{found[0]}', rest, count=1)
    if json.loads(written) != expected:
        written = json.dumps(expected, indent=2, ensure_ascii=False) + "\n"
    write_text(path, written)
