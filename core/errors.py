"""One error tree. Each class says what the caller should do and which exit code the command line ends with.

A message states what happened, to which object, and what to do next, in one line: it is what a user sees.
"""

from enum import StrEnum
from typing import ClassVar


class Action(StrEnum):
    """What the code that catches an error is expected to do."""

    RETRY = "retry"  # the same call may succeed at once
    WAIT = "wait"  # the same call may succeed after a pause: a dependency is away
    SKIP = "skip"  # this item cannot be processed, the others can
    HALT = "halt"  # take no new risk until a person or a reconciliation says so
    PAGE = "page"  # a person is needed now


class ExitCode:
    """Exit codes of every ``tidegate`` command."""

    OK = 0
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4  # a server that should answer does not
    BAD_INPUT = 5  # what a person gave: a file, a date, a name, a port, an installation without a wheel


class TidegateError(Exception):
    """Base of every error raised on purpose."""

    action: ClassVar[Action] = Action.HALT
    exit_code: ClassVar[int] = 1

    @property
    def message(self) -> str:
        """The one line a user sees."""
        return str(self.args[0]) if self.args else type(self).__name__


class UsageError(TidegateError):
    """The command was asked for something that makes no sense (unknown value, options that exclude each other)."""

    exit_code = ExitCode.USAGE
    action = Action.SKIP


class BadInputError(TidegateError):
    """What a person gave cannot be used, and trying again changes nothing (docs/adr/0008).

    A file of the wrong format, empty, truncated or crossed; a start after the end; an unknown instrument or version;
    a port in use; an installation without a needed wheel.
    """

    exit_code = ExitCode.BAD_INPUT
    action = Action.SKIP


class RefusedError(TidegateError):
    """A gate or a risk rule said no. Nothing is broken."""

    exit_code = ExitCode.REFUSED
    action = Action.HALT


class UnavailableError(TidegateError):
    """A dependency (server, database, file system) that should answer does not, or not in its budget."""

    exit_code = ExitCode.UNAVAILABLE
    action = Action.WAIT


class RateLimitedError(UnavailableError):
    """The other side asked for fewer requests; ``retry_after_seconds`` says how long to stay away."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknownError(TidegateError):
    """A request that can move money was sent and its reply was lost. Ask the broker; never assume."""

    action = Action.HALT


class IntegrityError(TidegateError):
    """Something that must never happen did: a digest, a hash chain, a state machine or a ledger does not hold."""

    action = Action.PAGE
    exit_code = ExitCode.REFUSED


class ConfigurationError(TidegateError):
    """A setting is missing, malformed or contradicts another one."""

    exit_code = ExitCode.USAGE
    action = Action.HALT
