"""A node's log in Python's own."""

from __future__ import annotations

import logging

from .chain import LogLevel, LogRecord, LogSink

_LEVELS = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARN: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.TRACE: logging.DEBUG - 5,
}


class _LoggingSink(LogSink):
    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def log(self, record: LogRecord) -> None:
        parts = record.target.split("::")
        logger = self._logger.getChild(".".join(parts[1:] if parts[0] == "libmusig" and len(parts) > 1 else parts))
        level = _LEVELS[record.level]
        if not logger.isEnabledFor(level):
            return
        extra = {"session": record.session, "dropped": record.dropped}
        # Not a format: what others wrote may have percent signs.
        made = logger.makeRecord(logger.name, level, "libmusig", 0, "%s", (record.text,), None, extra=extra)
        # It waited for this thread: its time is when it was logged.
        made.created = record.time.timestamp()
        made.msecs = record.time.microsecond // 1000
        logger.handle(made)


def logging_sink(logger: logging.Logger) -> LogSink:
    """A log sink that hands each record to a logger of Python's, for ``Node(log_sink=…)``.

    Its children are named after the parts of the library: ``session``, ``chain``, ``net`` and ``store``. Each record has
    ``session`` (an id, or None) and ``dropped`` (how many were lost so far because the handlers were too slow), and the
    time at which it was logged. ``log_level`` of the node is the first filter, the loggers' levels are the second.
    """
    return _LoggingSink(logger)


__all__ = ["logging_sink"]
