"""Structured logging to stderr: console for people, JSON for machines. stdout belongs to a command's result."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, cast

import structlog
from pydantic import SecretStr

from core.settings import LoggingSettings

Logger = structlog.stdlib.BoundLogger

_quiet = ContextVar("quiet", default=False)
_SECRET_WORDS = ("token", "password", "secret", "authorization", "account_id")


def _hide_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace secrets by stars, by type and by key: a careless caller must not leak one."""
    for key, value in event.items():
        if isinstance(value, SecretStr) or (
            isinstance(value, str) and any(word in key.lower() for word in _SECRET_WORDS)
        ):
            event[key] = "***"
    return event


def _drop_while_quiet(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if _quiet.get():
        raise structlog.DropEvent
    return event


@contextmanager
def quiet() -> Generator[None]:
    """Log nothing meanwhile: what a replay has to say was said when it was recorded."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


class _StandardError:
    """Whatever ``sys.stderr`` is at the moment: loggers are cached, and the stream may be replaced and closed."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(settings: LoggingSettings, process: str) -> None:
    """Set up logging for this process; ``process`` (trader, replica, …) is in every line."""
    level = getattr(logging, settings.level.upper())
    shared: list[structlog.typing.Processor] = [
        _drop_while_quiet,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_secrets,
    ]
    if settings.format == "json":
        final: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Not the default formatter: it prints the local variables of every frame, secrets included.
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def get_logger(name: str) -> Logger:
    """Return a logger whose lines carry ``room=name``."""
    return cast(Logger, structlog.get_logger(room=name))
