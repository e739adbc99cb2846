"""Where a replay and its journal part, in words a person can follow."""

from typing import Any

import msgspec

from core.clock import to_rfc3339
from core.journal import Entry
from trading import records


class FieldDifference(msgspec.Struct, frozen=True):
    """One field of a record: what the journal holds and what the replay made."""

    field: str
    recorded: str
    replayed: str


class Difference(msgspec.Struct, frozen=True):
    """The first entry that the replay did not make as it stands.

    ``recorded`` and ``replayed`` are the two records as plain values; None where one of both has nothing there.
    """

    sequence: int
    time: str
    recorded_kind: str
    replayed_kind: str
    recorded: dict[str, Any] | None
    replayed: dict[str, Any] | None
    fields: tuple[FieldDifference, ...]

    def lines(self) -> list[str]:
        """Return the difference as text: one line for each field that is not the same."""
        first = f"first difference at entry {self.sequence} ({self.time})"
        if self.recorded is None:
            return [f"{first}: the replay made a {self.replayed_kind}, the journal has none", f"  {self.replayed}"]
        if self.replayed is None:
            return [f"{first}: the journal has a {self.recorded_kind}, the replay made none", f"  {self.recorded}"]
        if self.recorded_kind != self.replayed_kind:
            return [
                f"{first}: the journal has a {self.recorded_kind}, the replay made a {self.replayed_kind}",
                f"  journal: {self.recorded}",
                f"  replay:  {self.replayed}",
            ]
        lines = [f"{first}, a {self.recorded_kind}:"]
        return lines + [f"  {item.field}: journal {item.recorded}, replay {item.replayed}" for item in self.fields]


def compare(entry: Entry | None, recorded: records.AnyRecord | None, made: records.AnyRecord | None) -> Difference:
    """Return what differs between an entry of the journal and a record of the replay; one of them may be missing."""
    before = None if recorded is None else _plain(recorded)
    after = None if made is None else _plain(made)
    fields: list[FieldDifference] = []
    if recorded is not None and made is not None and type(recorded) is type(made):
        _collect("", before, after, fields)
    return Difference(
        sequence=entry.sequence if entry is not None else 0,
        time=to_rfc3339(entry.time_ns) if entry is not None else "",
        recorded_kind="" if recorded is None else records.kind_of(recorded),
        replayed_kind="" if made is None else records.kind_of(made),
        recorded=before,
        replayed=after,
        fields=tuple(fields),
    )


def _plain(record: records.AnyRecord) -> dict[str, Any]:
    return msgspec.to_builtins(record)


def _collect(name: str, before: Any, after: Any, found: list[FieldDifference]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            _collect(f"{name}.{key}" if name else str(key), before.get(key), after.get(key), found)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            _collect(f"{name}[{index}]", left, right, found)
    elif before != after:
        found.append(FieldDifference(name, repr(before), repr(after)))
