"""What the trial ledger promises, on SQLite and on a real PostgreSQL: one inherited class of tests for both."""

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from core.clock import SimulatedClock
from core.database import create_engine
from core.embedded.postgres import EmbeddedPostgres
from core.errors import BadInputError, IntegrityError, RefusedError, UnavailableError, UsageError
from training.trials import Draft, Fold, Head, Status, TrialLedger, TrialRecord
from training.trials.owner import LEASE_SECONDS
from training.trials.tables import axes, lineages, owners, returns, trials

TIMES = np.arange(1, 41, dtype=np.int64) * 3_600_000_000_000


def begin(ledger: TrialLedger, lineage: str, **changes: Any) -> Any:
    """Begin a trial with usual arguments; ``changes`` replace them."""
    usual: dict[str, Any] = {
        "study": f"study {lineage}",
        "kind": "fit",
        "subject": "xgboost",
        "lineage": lineage,
        "parameters": {"depth": 3, "rates": {"learning": 0.1}},
        "seed": 7,
        "code_digest": "c" * 64,
    }
    return ledger.trial(**(usual | changes))


def series(seed: int, steps: int = 40) -> np.ndarray:
    """Return made-up net returns."""
    return np.random.default_rng(seed).normal(scale=1e-3, size=steps)


def filled(ledger: TrialLedger, lineage: str, count: int = 5) -> list[TrialRecord]:
    """Complete ``count`` trials with returns, the second of them failed, and return them."""
    for number in range(count):
        if number == 1:
            with pytest.raises(RuntimeError), begin(ledger, lineage, number=number):
                raise RuntimeError("no luck")
            continue
        with begin(ledger, lineage, number=number) as trial:
            trial.fold(0, 1.0 + number, 40)
            trial.complete({"sharpe": 0.1 * number}, series(number), TIMES)
    return ledger.trials(lineage)


class TrialLedgerContract:
    """Inherited once for each database; ``url`` comes from the heir."""

    @pytest.fixture(scope="class")
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        raise NotImplementedError
        yield

    @pytest.fixture
    def ledger(self, url: str) -> Iterator[TrialLedger]:
        with TrialLedger(url, patience_seconds=1.0) as ledger:
            yield ledger

    @pytest.fixture
    def lineage(self) -> str:
        return f"market-{uuid.uuid4().hex[:8]}"

    @pytest.fixture
    def engine(self, url: str, ledger: TrialLedger) -> Iterator[sa.Engine]:
        engine = create_engine(url)
        yield engine
        engine.dispose()

    @staticmethod
    def execute(engine: sa.Engine, statement: sa.Executable) -> int:
        with engine.begin() as connection:
            return connection.execute(statement).rowcount

    def test_the_row_exists_before_the_work_and_holds_everything_after_it(self, url: str, lineage: str) -> None:
        parameters = {"depth": np.int64(3), "share": np.float32(0.5), "list": (1, "a", None), "at": Path("x/y")}
        with TrialLedger(url, SimulatedClock(123)) as ledger, TrialLedger(url) as other:
            more = {"number": 4, "parent": f"{lineage}:0", "data_digest": "d" * 64, "run": "r1", "seed": 2**40}
            with begin(ledger, lineage, parameters=parameters, **more) as trial:
                (seen,) = other.trials(lineage)
                assert (seen.id, seen.status, seen.position, seen.closed_ns) == (trial.id, Status.RUNNING, None, None)
                trial.fold(1, 0.75, 10)
                assert other.trials(lineage)[0].folds == (Fold(1, 0.75, 10),)
                trial.fold(0, float("inf"), 20)
                trial.complete({"sharpe": 1.0 / 3.0, "nothing": float("nan"), "worst": float("-inf")}, series(1), TIMES)
            (row,) = other.trials(lineage)
        assert row.id == f"{lineage}:1" and row.sequence == 1 and row.position == 1 and row.attempt == 1
        assert row.status is Status.COMPLETED and row.reason == ""
        assert row.parameters == {"depth": 3, "share": 0.5, "list": [1, "a", None], "at": "x/y"}
        assert row.folds == (Fold(0, float("inf"), 20), Fold(1, 0.75, 10))
        assert row.values["sharpe"] == 1.0 / 3.0 and row.values["worst"] == float("-inf")
        assert np.isnan(row.values["nothing"])
        assert (row.number, row.parent, row.run, row.seed) == (4, f"{lineage}:0", "r1", 2**40)
        assert (row.begun_ns, row.closed_ns, row.steps) == (123, 123, 40)
        assert row.duration_ns is not None and row.duration_ns > 0

    @pytest.mark.parametrize("error", [ValueError("bad\nvalue"), KeyboardInterrupt()])
    def test_an_exception_fails_the_trial_and_goes_on(
        self, ledger: TrialLedger, lineage: str, error: BaseException
    ) -> None:
        with pytest.raises(type(error)), begin(ledger, lineage) as trial:
            trial.fold(0, 0.5)
            raise error
        (row,) = ledger.trials(lineage)
        assert row.status is Status.FAILED and row.folds == (Fold(0, 0.5),)
        assert row.reason == ("ValueError: bad" if isinstance(error, ValueError) else "KeyboardInterrupt")

    def test_a_pruned_trial_stays_pruned_whatever_is_raised_to_leave_it(
        self, ledger: TrialLedger, lineage: str
    ) -> None:
        with pytest.raises(StopIteration), begin(ledger, lineage) as trial:
            trial.pruned("worse than\n the median", {"loss": 2.0})
            raise StopIteration
        (row,) = ledger.trials(lineage)
        assert (row.status, row.reason, row.values) == (Status.PRUNED, "worse than the median", {"loss": 2.0})

    def test_a_trial_ends_once_and_not_without_a_result(self, ledger: TrialLedger, lineage: str) -> None:
        with pytest.raises(UsageError, match="ended without a result"), begin(ledger, lineage):
            pass
        with pytest.raises(UsageError, match="has ended as completed"), begin(ledger, lineage) as trial:
            trial.complete({})
            trial.complete({"better": 1.0})
        assert [row.status for row in ledger.trials(lineage)] == [Status.FAILED, Status.COMPLETED]
        assert ledger.trials(lineage)[1].values == {}

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"parameters": {"a": {"b": float("nan")}}}, r"parameters\.a\.b is nan"),
            ({"parameters": {"a": object()}}, "no JSON form"),
            ({"kind": "guess"}, "no kind of trial"),
            ({"subject": " "}, "needs a subject"),
        ],
    )
    def test_what_cannot_be_recorded_is_not_begun(
        self, ledger: TrialLedger, lineage: str, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(BadInputError, match=words), begin(ledger, lineage, **changes):
            pytest.fail("the work must not start")
        assert ledger.trials(lineage) == [] and ledger.count(lineage) == 0

    @pytest.mark.parametrize(
        ("values", "times", "words"),
        [
            (series(0), TIMES[:-1], "one return a time"),
            (np.where(np.arange(40) == 3, np.nan, 0.0), TIMES, "nan at step 3"),
            (series(0), TIMES[::-1], "do not increase at step 1"),
            (np.zeros(0), TIMES[:0], "one return a time"),
        ],
    )
    def test_a_return_series_that_cannot_be_kept_fails_the_trial(
        self, ledger: TrialLedger, lineage: str, values: Any, times: Any, words: str
    ) -> None:
        with pytest.raises(BadInputError, match=words), begin(ledger, lineage) as trial:
            trial.complete({"sharpe": 1.0}, values, times)
        (row,) = ledger.trials(lineage)
        assert row.status is Status.FAILED and row.reason.startswith("BadInputError")

    def test_a_batch_begins_and_closes_in_one_go(self, ledger: TrialLedger, url: str, lineage: str) -> None:
        drafts = [Draft({"place": place}, seed=place, number=place) for place in range(50)]
        with (
            TrialLedger(url) as other,
            ledger.batch("g", "backtest", "ema_cross", lineage, drafts, "c", parent=f"{lineage}:9") as batch,
        ):
            assert [row.status for row in other.trials(lineage)] == [Status.RUNNING] * 50
            for place in range(50):
                if place % 10 == 0:
                    batch.pruned(place, "too few trades")
                elif place % 10 == 1:
                    batch.failed(place, ZeroDivisionError("no spread"))
                else:
                    batch.complete(place, {"sharpe": place / 7}, series(place), TIMES, [Fold(0, -1.0)])
            assert {row.status for row in other.trials(lineage)} == {Status.RUNNING}
        found = ledger.trials(lineage)
        assert [row.sequence for row in found] == [row.position for row in found] == list(range(1, 51))
        assert [row.id for row in found] == batch.ids
        assert [row.parameters["place"] for row in found] == list(range(50))
        assert found[11].reason == "ZeroDivisionError: no spread" and found[12].folds == (Fold(0, -1.0),)
        summary = ledger.studies(lineage)[0]
        assert summary.statuses == {"completed": 40, "failed": 5, "pruned": 5} and summary.kinds == ("backtest",)
        assert ledger.verify(lineage) == []

    def test_a_batch_that_breaks_keeps_what_was_seen(self, ledger: TrialLedger, lineage: str) -> None:
        drafts = [Draft({"place": place}, seed=1) for place in range(3)]
        with pytest.raises(RuntimeError), ledger.batch("g", "backtest", "r", lineage, drafts, "c") as batch:
            batch.complete(1, {"sharpe": 2.0}, series(1), TIMES)
            raise RuntimeError("worker died")
        assert [row.status for row in ledger.trials(lineage)] == [Status.FAILED, Status.COMPLETED, Status.FAILED]
        with (
            pytest.raises(UsageError, match="1 of 2 trials"),
            ledger.batch("g", "backtest", "r", lineage, drafts[:2], "c") as batch,
        ):
            batch.complete(0, {})
        with pytest.raises(BadInputError, match="no trials"), ledger.batch("g", "fit", "r", lineage, [], "c"):
            pass
        assert ledger.count(lineage) == 5 and ledger.verify(lineage) == []

    def test_the_same_trial_again_is_a_further_attempt(self, ledger: TrialLedger, lineage: str) -> None:
        for changes in ({}, {}, {"seed": 8}, {"number": 1}, {"study": "other"}, {}):
            with begin(ledger, lineage, **changes) as trial:
                trial.complete({})
        drafts = [Draft({"a": 1}, 1), Draft({"a": 2}, 1), Draft({"a": 1}, 1)]
        with ledger.batch("g", "backtest", "r", lineage, drafts, "c") as batch:
            assert [trial.attempt for trial in batch] == [1, 1, 2]
            for place in range(3):
                batch.complete(place, {})
        assert [row.attempt for row in ledger.trials(lineage)][:6] == [1, 2, 1, 1, 1, 3]

    def test_returns_come_back_exactly_on_the_times_all_have(
        self, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        ids: list[str] = []
        for number, keep in enumerate((slice(0, 40), slice(5, 40), slice(0, 40), slice(0, 30, 2))):
            with begin(ledger, lineage, number=number) as trial:
                trial.complete({}, series(number)[keep], TIMES[keep])
            ids.append(trial.id)
        times, matrix = ledger.returns([ids[2], ids[0]])
        assert np.array_equal(times, TIMES) and matrix.flags.c_contiguous
        assert np.array_equal(matrix, np.column_stack([series(2), series(0)]))
        times, matrix = ledger.returns(ids)
        common = np.arange(6, 30, 2)
        assert np.array_equal(times, TIMES[common])
        assert np.array_equal(matrix, np.column_stack([series(number)[common] for number in range(4)]))
        with engine.connect() as connection:
            digests = {row.axis_digest for row in ledger.trials(lineage)}
            assert len(digests) == 3
            stored = sa.select(sa.func.count()).select_from(axes).where(axes.c.digest.in_(digests))
            assert connection.execute(stored).scalar() == 3

    def test_questions_that_have_no_answer_are_refused(self, ledger: TrialLedger, lineage: str) -> None:
        with begin(ledger, lineage) as trial:
            trial.complete({})
        with begin(ledger, lineage) as early:
            early.complete({}, series(1), TIMES)
        with begin(ledger, lineage) as late:
            late.complete({}, series(1), TIMES + TIMES[-1])
        for ask, words in (
            (lambda: ledger.returns([]), "no trials given"),
            (lambda: ledger.returns([trial.id]), "no return series"),
            (lambda: ledger.returns([early.id, "no:1"]), "no trial 'no:1'"),
            (lambda: ledger.returns([early.id, late.id]), "no time in common"),
            (lambda: ledger.trials(ids=["no:1"]), "no trial 'no:1'"),
            (lambda: ledger.trials(status="great"), "no status 'great'"),
            (lambda: ledger.trials(kind="guess"), "no kind"),
        ):
            with pytest.raises(BadInputError, match=words):
                ask()

    def test_lists_are_filtered_ordered_and_cut(self, ledger: TrialLedger, lineage: str) -> None:
        records = filled(ledger, lineage)
        with begin(ledger, lineage, study="other", kind="backtest", subject="ema", parent=records[0].id) as trial:
            trial.complete({})
        assert [row.sequence for row in ledger.trials(lineage, newest=True, limit=2)] == [6, 5]
        assert [row.id for row in ledger.trials(lineage, kind="backtest")] == [trial.id]
        assert [row.id for row in ledger.trials(parent=records[0].id)] == [trial.id]
        assert [row.id for row in ledger.trials(lineage, status="failed")] == [records[1].id]
        assert [row.id for row in ledger.trials(lineage, subject="ema", study="other")] == [trial.id]
        assert [row.id for row in ledger.trials(ids=[records[3].id, records[0].id])] == [records[3].id, records[0].id]
        assert ledger.count(lineage) == 6 and ledger.count(lineage, "backtest") == 1
        assert [(one.study, one.trials) for one in ledger.studies(lineage)] == [(f"study {lineage}", 5), ("other", 1)]
        assert lineage in ledger.lineages() and ledger.head(lineage).sequence == 6

    def test_writers_of_one_lineage_leave_no_gap(self, url: str, lineage: str) -> None:
        problems: list[BaseException] = []

        def work(writer: int) -> None:
            try:
                with TrialLedger(url) as ledger:
                    for number in range(8):
                        if number % 3 == 2:
                            drafts = [Draft({"writer": writer, "place": place}, number) for place in range(4)]
                            with ledger.batch("b", "backtest", "r", lineage, drafts, "c") as batch:
                                for place in range(4):
                                    batch.complete(place, {})
                        with begin(ledger, lineage, number=number) as trial:
                            trial.complete({"writer": writer}, series(number), TIMES)
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        with TrialLedger(url) as ledger:
            found = ledger.trials(lineage)
            assert sorted(row.sequence for row in found) == list(range(1, 65))
            assert sorted(row.position or 0 for row in found) == list(range(1, 65))
            assert ledger.verify(lineage) == [] and ledger.count(lineage) == 64

    def test_a_commit_whose_reply_was_lost_is_not_made_twice(
        self, ledger: TrialLedger, lineage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit, losses = sa.Connection.commit, iter([True, False] * 4)

        def and_lose_the_reply(connection: sa.Connection) -> None:
            commit(connection)
            if next(losses):
                raise OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))

        monkeypatch.setattr(sa.Connection, "commit", and_lose_the_reply)
        with begin(ledger, lineage) as trial:
            trial.complete({"sharpe": 1.0}, series(1), TIMES)
        with ledger.batch("g", "backtest", "r", lineage, [Draft({"a": 1}, 1), Draft({"a": 1}, 1)], "c") as batch:
            batch.complete(0, {}, series(2), TIMES)
            batch.pruned(1, "too few trades")
        monkeypatch.undo()
        assert next(losses, None) is None, "every reply was lost once"
        found = ledger.trials(lineage)
        assert [(row.id, row.attempt, row.position) for row in found] == [
            (trial.id, 1, 1), (batch.ids[0], 1, 2), (batch.ids[1], 2, 3)
        ]  # fmt: skip
        assert trial.row["hash"] == found[0].hash and ledger.verify(lineage) == []

    EDITS: ClassVar[dict[str, tuple[str, int]]] = {
        # what a hand with access to the database does: the kind of the fault, and the trial it must name
        "parameters": ("edited", 3),
        "values": ("edited", 3),
        "seed": ("edited", 3),
        "begun_ns": ("edited", 3),
        "study": ("edited", 3),
        "reopened": ("edited", 3),
        "deleted": ("missing", 3),
        "deleted with its returns, the counter too": ("missing", 3),
        "last deleted": ("missing", 5),
        "inserted behind": ("inserted", 6),
        "inserted as closed": ("edited", 6),
        "returns swapped": ("series", 3),
        "returns deleted": ("series", 4),
        "axis shifted": ("series", 1),
        "rehashed": ("chain", 4),
    }

    @pytest.mark.parametrize("what", list(EDITS))
    def test_every_edit_is_found(self, ledger: TrialLedger, engine: sa.Engine, lineage: str, what: str) -> None:
        records = filled(ledger, lineage)
        assert ledger.verify(lineage) == []
        self.edit(engine, lineage, records, what)
        found = {(gap.kind, gap.sequence) for gap in ledger.verify(lineage)}
        try:
            assert self.EDITS[what] in found, found
            assert all(gap.words and gap.lineage == lineage for gap in ledger.verify(lineage))
        finally:
            if what == "axis shifted":  # other tests share it: the next to store it writes it again
                self.execute(engine, axes.delete().where(axes.c.digest == records[0].axis_digest))

    def edit(self, engine: sa.Engine, lineage: str, records: list[TrialRecord], what: str) -> None:
        """Change the ledger as SQL by hand would."""
        third, last = trials.c.id == records[2].id, trials.c.id == records[-1].id
        forged = {"parameters": '{"depth":4}', "values": '{"sharpe":9.0}', "seed": 8, "begun_ns": 1, "study": "s"}
        if what in forged:
            self.execute(engine, trials.update().where(third).values({trials.c[what]: forged[what]}))
        elif what == "reopened":
            self.execute(engine, trials.update().where(third).values(status="running"))
        elif what == "deleted":
            self.execute(engine, trials.delete().where(third))
        elif what == "deleted with its returns, the counter too":
            self.execute(engine, trials.delete().where(third))
            self.execute(engine, returns.delete().where(returns.c.trial == records[2].id))
            self.execute(engine, lineages.update().where(lineages.c.lineage == lineage).values(closed=4))
        elif what == "last deleted":
            self.execute(engine, trials.delete().where(last))
        elif what.startswith("inserted"):
            with engine.begin() as connection:
                row = dict(connection.execute(sa.select(trials).where(last)).mappings().one())
                row |= {"id": f"{lineage}:6", "sequence": 6, "token": uuid.uuid4().hex, "position": 6}
                connection.execute(trials.insert(), row)
                if what == "inserted as closed":
                    counter = lineages.update().where(lineages.c.lineage == lineage)
                    connection.execute(counter.values(last_sequence=6, closed=6))
        elif what == "returns swapped":
            content = sa.select(returns.c.content).where(returns.c.trial == records[3].id).scalar_subquery()
            self.execute(engine, returns.update().where(returns.c.trial == records[2].id).values(content=content))
        elif what == "returns deleted":
            self.execute(engine, returns.delete().where(returns.c.trial == records[3].id))
        elif what == "axis shifted":
            axis = axes.c.digest == records[0].axis_digest
            from training.trials.series import pack

            self.execute(engine, axes.update().where(axis).values(content=pack(series(0), TIMES + 1).axis))
        elif what == "rehashed":
            from training.trials.record import row_hash

            with engine.begin() as connection:
                row = dict(connection.execute(sa.select(trials).where(third)).mappings().one())
                row["values"] = '{"sharpe":9.0}'
                row["hash"] = row_hash(row)
                connection.execute(trials.update().where(third).values(row))

    def test_a_row_that_is_edited_while_it_runs_is_found_once_it_is_closed(
        self, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        with begin(ledger, lineage) as trial:
            self.execute(engine, trials.update().where(trials.c.id == trial.id).values(parameters="{}"))
            trial.complete({})
        assert [(gap.kind, gap.sequence) for gap in ledger.verify(lineage)] == [("edited", 1)]

    def test_a_head_kept_elsewhere_finds_a_ledger_that_was_cut_or_written_anew(
        self, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        records = filled(ledger, lineage)
        known = [ledger.head(lineage), Head("another lineage", 99, 99, "f" * 64)]
        with begin(ledger, lineage) as trial:
            trial.complete({})
        assert ledger.verify(lineage, known) == []
        with engine.begin() as connection:
            cut = [row.id for row in (*records[3:], trial)]
            connection.execute(trials.delete().where(trials.c.id.in_(cut)))
            connection.execute(returns.delete().where(returns.c.trial.in_(cut)))
            counter = lineages.update().where(lineages.c.lineage == lineage)
            connection.execute(counter.values(last_sequence=3, closed=3, head_hash=records[2].hash))
        assert ledger.verify(lineage) == []
        assert [gap.kind for gap in ledger.verify(lineage, known)] == ["known", "known"]

    def test_a_count_is_refused_where_rows_are_missing(
        self, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        records = filled(ledger, lineage)
        self.execute(engine, trials.delete().where(trials.c.id == records[0].id))
        with pytest.raises(IntegrityError, match="4 trials on record, 5 were begun"):
            ledger.count(lineage)
        self.execute(engine, lineages.delete().where(lineages.c.lineage == lineage))
        with begin(ledger, lineage) as trial:  # number 1 is free again, its successor is not
            trial.complete({})
        with pytest.raises(IntegrityError, match="never begun here"), begin(ledger, lineage):
            pytest.fail("the work must not start")

    def test_an_owner_that_cannot_be_seen_is_gone_when_its_lease_ran_out_and_not_before(
        self, url: str, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        with pytest.raises(RefusedError, match="came too late"), begin(ledger, lineage) as trial:
            elsewhere = owners.update().where(owners.c.owner == trial.row["owner"])
            self.execute(engine, elsewhere.values(host="far-away", boot_id="other"))
            TrialLedger(url).close()
            assert ledger.trials(lineage)[0].status is Status.RUNNING
            late = round((LEASE_SECONDS + 1.0) * 1e9)
            self.execute(engine, elsewhere.values(heartbeat_ns=owners.c.heartbeat_ns - late))
            TrialLedger(url).close()
            (lost,) = ledger.trials(lineage)
            assert lost.status is Status.LOST and "far-away gave no sign for 12" in lost.reason
            trial.complete({"sharpe": 9.0})
        (row,) = ledger.trials(lineage)
        assert row.status is Status.LOST and row.values == {} and ledger.verify(lineage) == []
        with begin(ledger, lineage) as again:  # the process lives on and begins under another key
            again.complete({"sharpe": 9.0})
        assert again.row["owner"] != trial.row["owner"] and again.attempt == 2
        assert ledger.verify(lineage) == []

    def test_a_living_owner_keeps_its_trials_however_long_it_is_silent(
        self, url: str, ledger: TrialLedger, engine: sa.Engine, lineage: str
    ) -> None:
        with pytest.raises(RefusedError, match="ended without closing it"), begin(ledger, lineage) as trial:
            mine = owners.update().where(owners.c.owner == trial.row["owner"])
            self.execute(engine, mine.values(heartbeat_ns=0))
            TrialLedger(url).close()
            assert ledger.trials(lineage)[0].status is Status.RUNNING
            # The pid of a process that is gone may be another's now: its start time tells.
            self.execute(engine, mine.values(process_start=owners.c.process_start - 1))
            TrialLedger(url).close()
            assert ledger.trials(lineage)[0].status is Status.LOST
            trial.complete({})
        assert ledger.verify(lineage) == []

    def test_a_running_trial_gives_signs_of_life(
        self, ledger: TrialLedger, engine: sa.Engine, lineage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.trials.ledger.HEARTBEAT_SECONDS", 0.02)

        def heartbeat(owner: str) -> int:
            with engine.connect() as connection:
                return connection.execute(sa.select(owners.c.heartbeat_ns).where(owners.c.owner == owner)).scalar_one()

        with begin(ledger, lineage) as trial:
            first, deadline = heartbeat(trial.row["owner"]), time.monotonic() + 60.0
            while heartbeat(trial.row["owner"]) == first:
                assert time.monotonic() < deadline, "no sign of life"
                time.sleep(0.02)
            trial.complete({})

    def test_closing_the_ledger_leaves_nothing_running(self, url: str, lineage: str) -> None:
        ledger = TrialLedger(url)
        open_one = begin(ledger, lineage)
        open_one.__enter__()
        ledger.close()
        with TrialLedger(url) as other:
            (row,) = other.trials(lineage)
            assert row.status is Status.LOST and "closed while it ran" in row.reason
        with pytest.raises(UsageError, match="was closed"), begin(ledger, lineage):
            pytest.fail("the work must not start")


class TestOnSqlite(TrialLedgerContract):
    @pytest.fixture(scope="class")
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        yield f"sqlite:///{tmp_path_factory.mktemp('trials') / 'made' / 'trials.db'}"

    def test_a_value_of_another_type_is_found(self, ledger: TrialLedger, engine: sa.Engine, lineage: str) -> None:
        records = filled(ledger, lineage, 3)
        forged = sa.text("UPDATE trials SET \"values\" = x'00ff' WHERE id = :id")
        self.execute(engine, forged.bindparams(id=records[2].id))
        assert [(gap.kind, gap.sequence) for gap in ledger.verify(lineage)] == [("edited", 3)]
        with pytest.raises(IntegrityError, match="was edited and cannot be read"):
            ledger.trials(lineage)

    def test_a_file_that_is_moved_away_is_noticed(self, tmp_path: Path, lineage: str) -> None:
        path = tmp_path / "trials.db"
        ledger = TrialLedger(f"sqlite:///{path}", patience_seconds=0.2)
        with pytest.raises(UnavailableError, match="moved, deleted or replaced") as caught, begin(ledger, lineage) as t:
            path.rename(tmp_path / "elsewhere.db")
            t.complete({"sharpe": 9.0})
        assert "stay open" in caught.value.__notes__[0]
        (tmp_path / "elsewhere.db").rename(path)
        assert ledger.trials(lineage)[0].status is Status.RUNNING
        ledger.close()
        with TrialLedger(f"sqlite:///{path}") as again:
            assert again.trials(lineage)[0].status is Status.LOST

    def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.db"
        path.write_bytes(b"not a database, but a note of what was tried\n" * 100)
        with pytest.raises(UnavailableError, match="not a database"):
            TrialLedger(f"sqlite:///{path}")
        (tmp_path / "file").write_text("")
        with pytest.raises(UnavailableError, match="cannot be made"):
            TrialLedger(f"sqlite:///{tmp_path}/file/below/trials.db")


class TestOnPostgresql(TrialLedgerContract):
    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
        with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
            yield server

    @pytest.fixture(scope="class")
    def url(self, server: EmbeddedPostgres) -> Iterator[str]:
        yield server.url

    def test_a_database_that_goes_away_is_waited_for_and_then_named(self, tmp_path: Path, lineage: str) -> None:
        server = EmbeddedPostgres(tmp_path / "postgres").start()
        try:
            patient, hasty = (
                TrialLedger(server.url, patience_seconds=30.0),
                TrialLedger(server.url, patience_seconds=0.2),
            )
            with pytest.raises(UnavailableError, match="does not answer"), begin(hasty, lineage) as trial:
                with begin(patient, lineage) as kept:
                    server.stop()
                    with pytest.raises(UnavailableError, match="trials are not run uncounted"):
                        trial.complete({"sharpe": 9.0})
                    with pytest.raises(UnavailableError):
                        hasty.trials(lineage)
                    with pytest.raises(UnavailableError), begin(hasty, lineage):
                        pytest.fail("the work must not start")
                    back = threading.Timer(0.5, server.start)
                    back.start()
                    kept.complete({"sharpe": 1.0}, series(1), TIMES)
                    back.join()
                server.stop()
                raise UnavailableError("the database does not answer")
            server.start()
            with TrialLedger(server.url) as ledger:
                assert [row.status for row in ledger.trials(lineage)] == [Status.RUNNING, Status.COMPLETED]
                assert ledger.verify(lineage) == []
            hasty.close()
            patient.close()
            with TrialLedger(server.url) as ledger:
                assert [row.status for row in ledger.trials(lineage)] == [Status.LOST, Status.COMPLETED]
        finally:
            server.stop()


del TrialLedgerContract  # only its heirs have a database
