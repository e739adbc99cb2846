"""The ledger of releases on SQLite and on a real PostgreSQL: the chain holds, and says so when it does not."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from release_room import NAME, QUICK, START_NS, approval

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.embedded.postgres import EmbeddedPostgres
from core.errors import BadInputError, IntegrityError, RefusedError, UnavailableError
from serving.release.release_tables import head_table, releases_table, transitions_table
from serving.release.releases import Releases
from serving.release.states import Cause, Release, ReleaseState, Transition

S = ReleaseState


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/releases.db"
    else:
        server: EmbeddedPostgres = request.getfixturevalue("postgres")
        name = f"releases_{uuid.uuid4().hex}"
        server.create_database(name)
        url = server.database_url(name)
    engine = create_engine(url)
    migrate(engine)
    yield engine
    engine.dispose()


def begin(ledger: Releases, version: str = "1", strategy: str = NAME) -> Release:
    return ledger.open(
        strategy=strategy,
        version=version,
        model_digest=version * 64,
        evidence_digest="e" * 64,
        policy=QUICK.document(),
        cause=Cause.REVIEWER,
        reason="approved",
        actor="reviewer",
    )


def move(ledger: Releases, release: Release, to: ReleaseState, **more: Any) -> Release:
    causes = {S.APPROVED: Cause.REVIEWER, S.ROLLED_BACK: Cause.ROLLBACK, S.RETIRED: Cause.OPERATOR}
    usual: dict[str, Any] = {"cause": causes.get(to, Cause.RULES), "reason": "because"}
    if to is S.APPROVED:
        usual["approval"] = int(release.version)
    if to is S.SHADOW:
        usual["against"] = "1" * 64
    transition = Transition(to=to, **(usual | more))
    return ledger.append(release.release_id, transition, actor="tidegate", expected=release.sequence)


def champion(ledger: Releases, version: str = "1") -> Release:
    return move(ledger, move(ledger, begin(ledger, version), S.APPROVED), S.CHAMPION)


def test_a_release_is_what_its_transitions_come_to(engine: sa.Engine) -> None:
    clock = SimulatedClock(START_NS)
    ledger = Releases(engine, clock)
    first = champion(ledger)
    assert (first.release_id, first.state, first.approval, first.number) == (f"{NAME}.1.1", S.CHAMPION, 1, 3)
    clock.advance_to(START_NS + 7)
    second = move(ledger, move(ledger, begin(ledger, "2"), S.APPROVED), S.SHADOW, market_ns=5)
    clock.advance_to(START_NS + 9)
    figures = {"e": 0.1 + 0.2, "n": 2**53 + 1, "words": "Größe → ✓", "none": None}
    third = move(ledger, second, S.CANARY, figures=figures, market_ns=11)
    assert (third.step, third.entered_ns, third.market_ns, third.compared_ns) == (0, START_NS + 9, 11, 5)
    fourth = move(ledger, third, S.CANARY, step=1, market_ns=12)
    assert (ledger.current(NAME), ledger.champion(NAME)) == (fourth, first)
    fifth = move(ledger, fourth, S.CHAMPION)
    assert (ledger.current(NAME), ledger.champion(NAME)) == (None, fifth)
    retired = ledger.get(first.release_id)
    assert (retired.state, ledger.history(first.release_id)[-1].figures) == (S.RETIRED, {"successor": fifth.release_id})
    assert ledger.history(fifth.release_id)[3].figures == figures
    assert [release.release_id for release in ledger.unfinished()] == [first.release_id, fifth.release_id]
    ledger.effects_done(fifth)
    ledger.bento_built(fifth, "tidegate:abc")
    assert [release.release_id for release in ledger.unfinished(NAME)] == [first.release_id]
    assert ledger.get(fifth.release_id).bento == "tidegate:abc"
    records = ledger.verify()
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    assert ledger.verify(records[3:5]) == records
    back = ledger.append(
        fifth.release_id, Transition(to=S.ROLLED_BACK, cause=Cause.ROLLBACK, reason="errors"), actor="g"
    )
    assert back.bento == "tidegate:abc"
    assert begin(ledger, "2").release_id == f"{NAME}.2.2"


def test_places_and_ways_are_refused_with_nothing_changed(engine: sa.Engine) -> None:
    ledger = Releases(engine)
    champion(ledger)
    second = move(ledger, begin(ledger, "2"), S.APPROVED)
    third = begin(ledger, "3")
    before = ledger.verify()
    with pytest.raises(RefusedError, match="one open release and one champion at a time"):
        move(ledger, third, S.APPROVED)
    with pytest.raises(RefusedError, match="moved meanwhile"):
        ledger.append(
            second.release_id, Transition(to=S.RETIRED, cause=Cause.OPERATOR, reason="x"), actor="a", expected=1
        )
    with pytest.raises(RefusedError, match="it cannot become canary"):
        move(ledger, second, S.CANARY)
    with pytest.raises(RefusedError, match=r"candidate becomes approved by reviewer, not by rules"):
        move(ledger, third, S.APPROVED, cause=Cause.RULES)
    with pytest.raises(RefusedError, match="has no approval"):
        move(ledger, third, S.APPROVED, approval=0)
    with pytest.raises(RefusedError, match=r"version 2 of tidegate-test has a release already"):
        begin(ledger, "2")
    with pytest.raises(BadInputError, match="needs who and why"):
        move(ledger, second, S.RETIRED, reason=" ")
    with pytest.raises(BadInputError, match="no release nothing"):
        ledger.get("nothing")
    assert ledger.verify() == before
    other = begin(ledger, "1", "tidegate-other")
    assert move(ledger, other, S.APPROVED).open  # another strategy has places of its own


EDITS = {
    "reason": {"reason": "forged"},
    "figures": {"figures": '{"e_value":1000}'},
    "after": {"after": "champion"},
    "actor": {"actor": "somebody else"},
    "time": {"time_ns": 1},
    "hash": {"hash": "f" * 64},
    "malformed": {"figures": "no JSON"},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_record_is_named(engine: sa.Engine, edit: str) -> None:
    ledger = Releases(engine)
    champion(ledger)
    with engine.begin() as connection:
        connection.execute(transitions_table.update().where(transitions_table.c.sequence == 2).values(EDITS[edit]))
    with pytest.raises(IntegrityError, match=r"release ledger broken: (record 2|.*follows)"):
        ledger.verify()


def test_what_is_missing_or_slipped_in_is_found(engine: sa.Engine) -> None:
    ledger = Releases(engine)
    first = champion(ledger)
    kept = ledger.verify()

    def write(statement: sa.Executable) -> None:
        with engine.begin() as connection:
            connection.execute(statement)

    of_it = releases_table.c.release_id == first.release_id
    with engine.connect() as connection:
        content = connection.execute(sa.select(releases_table.c.content)).scalar_one()
    write(releases_table.update().where(of_it).values(content=content.replace('"champion"', '"approved"')))
    with pytest.raises(IntegrityError, match="its transitions say otherwise"):
        ledger.verify()
    write(releases_table.update().where(of_it).values(content=content))
    assert ledger.verify() == kept
    write(transitions_table.delete().where(transitions_table.c.sequence == 3))
    with pytest.raises(IntegrityError, match="the head says 3"):
        ledger.verify()
    with pytest.raises(IntegrityError, match="the head says 3"):
        begin(ledger, "2")
    write(head_table.update().values(sequence=2, hash=kept[1].hash))
    write(releases_table.delete().where(of_it))
    with pytest.raises(IntegrityError, match="has transitions and is not there"):
        ledger.verify()
    with pytest.raises(IntegrityError, match="known elsewhere"):
        ledger.verify(kept)


def test_of_many_who_decide_at_once_one_writes(engine: sa.Engine) -> None:
    ledger = Releases(engine)
    champion(ledger)
    candidates = [begin(ledger, version) for version in "2345"]
    outcomes: list[str] = []
    barrier = threading.Barrier(len(candidates) * 2)

    def approve(release: Release) -> None:
        barrier.wait()
        try:
            outcomes.append(move(ledger, release, S.APPROVED).release_id)
        except RefusedError:
            outcomes.append("")

    threads = [threading.Thread(target=approve, args=(release,)) for release in candidates * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if outcome]
    assert len(outcomes) == len(threads)
    current = ledger.current(NAME)
    assert current is not None and current.release_id == winner
    assert len(ledger.verify()) == 3 + 4 + 1


def test_a_rollback_gives_a_champion_its_place_back(engine: sa.Engine) -> None:
    ledger = Releases(engine)
    champion(ledger, "1")
    second = champion(ledger, "2")
    with pytest.raises(RefusedError, match="holds the place"):
        ledger.reinstate(approval("1", 1), reason="errors", actor="guard")
    move(ledger, second, S.ROLLED_BACK)
    restored = ledger.reinstate(approval("1", 1), reason="errors", actor="guard", figures={"rollback": "000002"})
    assert (restored.release_id, restored.state, restored.approval) == (f"{NAME}.1.2", S.CHAMPION, 1)
    assert ledger.reinstate(approval("1", 1), reason="errors", actor="guard") == restored
    ledger.verify()


def test_a_database_that_is_away_is_said_in_a_line(tmp_path: Path) -> None:
    ledger = Releases(create_engine(f"sqlite:///{tmp_path}/nothing/here.db"))
    for call in (lambda: ledger.current(NAME), lambda: begin(ledger), ledger.verify):
        with pytest.raises(UnavailableError, match="release ledger does not answer") as caught:
            call()
        assert "\n" not in caught.value.message
