"""In a process of its own: logging is set up once a process."""

import subprocess
import sys
from typing import Any

import orjson

SET_UP = """
import logging, structlog
from blockrank_server.service.middleware.logs import configure_logs
configure_logs("info")
"""


def lines_of(script: str) -> list[dict[str, Any]]:
    found = subprocess.run(
        [sys.executable, "-c", SET_UP + script], check=True, capture_output=True, text=True
    )
    assert found.stderr == ""
    return [orjson.loads(line) for line in found.stdout.splitlines()]


def test_our_lines_and_those_of_libraries_have_one_form() -> None:
    ours, theirs = lines_of(
        "structlog.get_logger('a.b').info('done', size=1, what=object)\n"
        "logging.getLogger('library').info('%d of %s', 1, 'two')\n"
    )
    assert ours.pop("timestamp") <= theirs.pop("timestamp")
    assert ours == {
        **{"event": "done", "level": "info", "logger": "a.b"},
        **{"size": 1, "what": "<class 'object'>"},
    }
    assert theirs == {"event": "1 of two", "level": "info", "logger": "library"}


def test_what_is_below_the_level_is_not_written() -> None:
    assert not lines_of("structlog.get_logger().debug('a'); logging.getLogger('b').debug('b')")


def test_a_library_s_level_of_its_own_is_rounded_down() -> None:
    levels = [25, 35, 70]
    found = lines_of(f"[logging.getLogger('b').log(level, 'b') for level in {levels}]")
    assert [line["level"] for line in found] == ["info", "warning", "critical"]


def test_an_exception_keeps_its_traceback() -> None:
    script = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}"
    for call in ("logging.getLogger('b').exception('b')", "structlog.get_logger().exception('b')"):
        [line] = lines_of(script.format(call))
        assert line["level"] == "error"
        assert "ZeroDivisionError: division by zero" in line["exception"]


def test_an_output_that_fills_up_later_ends_nothing() -> None:
    script = (
        "import os\nlog = structlog.get_logger()\n"
        "log.info('taken')\nkept = os.dup(1)\n"
        "for lost in (os.open('/dev/full', os.O_WRONLY), os.open('/dev/null', os.O_RDONLY)):\n"
        "    os.dup2(lost, 1)\n"
        "    log.info('lost')\n"
        "os.dup2(kept, 1)\n"
    )
    assert lines_of(script)[0]["event"] == "taken"


def test_an_output_that_takes_not_one_line_is_told() -> None:
    script = "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    script += "try:\n    structlog.get_logger().info('lost')\nexcept OSError:\n    os._exit(7)\n"
    found = subprocess.run([sys.executable, "-c", SET_UP + script], check=False)
    assert found.returncode == 7
