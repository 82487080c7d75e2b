"""Events with fields, through the standard library's logging: silent until a user configures it.

An event is one record: its text is the event's name and its fields as `key=value`, and each field is also an
attribute of the record, for handlers that write JSON, as `JsonLines` does:

    logging.basicConfig(level="INFO")
    backfill.committed node_id=ohlcv:binance:BTC/USDT:1m interval=1m start=2024-01-01 end=2024-01-02 tx=7
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, TextIO, cast

from qmtl.foundation.times import iso

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

_NAMESPACE = "seamless"
# Events of the data plane, and of the services and the command around it.
_NAMESPACES = (_NAMESPACE, "qmtl")

# What a record has already; logging refuses to overwrite it.
_TAKEN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})

# The caller is this many frames above: structlog has three in between, and %(filename)s should be true.
_STACK_LEVEL = 4


def _as_record(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments of the standard library's logger for one event."""
    name = str(event.pop("event"))
    how = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = " ".join([name, *(f"{key}={_shown(value)}" for key, value in event.items())])
    fields = {f"{key}_" if key in _TAKEN else key: value for key, value in event.items()}
    return (text,), {"extra": {"event": name, **fields}, "stacklevel": _STACK_LEVEL, **how}


def _shown(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else repr(text)


@lru_cache
def _logger(name: str) -> BoundLogger:
    import structlog

    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _as_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=False,
    ).bind()
    return logger


class _WhenUsed:
    """A logger that is made at its first event: structlog takes longer to load than a read of the store."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        level = _LEVELS.get(method)
        if level is not None and not logging.getLogger(self._name).isEnabledFor(level):
            return _unheard  # structlog takes ten times as long to find that out
        return getattr(_logger(self._name), method)


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}


def _unheard(event: str, **fields: object) -> None:
    """Nobody listens to this level."""


class JsonLines(logging.Formatter):
    """A JSON object per record: `time` (ISO 8601 UTC), `level`, `logger`, `event` and its fields.

    A record without an event, of a library, has its text as `message`. An exception is one text, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _TAKEN}
        line: dict[str, Any] = {
            "time": iso(int(record.created * 1_000_000) * 1_000),
            "level": record.levelname.lower(),
            "logger": record.name,
            **({} if "event" in fields else {"message": record.getMessage()}),
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(_plain(line))


def _plain(value: Any) -> Any:
    """A JSON value: NaN, infinities and all other types become their text."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else str(value)


@contextmanager
def written_to(stream: TextIO, formatter: logging.Formatter, level: int) -> Iterator[None]:
    """While the block runs, our events from `level` on and warnings of libraries go to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in _NAMESPACES]
    before = [logger.level for logger in ours]
    root.addHandler(handler)
    for logger in ours:
        logger.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, was in zip(ours, before, strict=True):
            logger.setLevel(was)


# Without a handler of our own, Python would print warnings to stderr where logging is not configured.
logging.getLogger(_NAMESPACE).addHandler(logging.NullHandler())

backfill_log = cast("BoundLogger", _WhenUsed(f"{_NAMESPACE}.backfill"))
sla_log = cast("BoundLogger", _WhenUsed(f"{_NAMESPACE}.sla"))
coordinator_log = cast("BoundLogger", _WhenUsed("qmtl.coordinator"))
