"""Two versions on the same decisions: what the trader writes, what the ledger holds, and what is found in it."""

import asyncio
import dataclasses
import itertools
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from shadowed_session import TwoVersions, project, rules_of, trade_with_two

from core.database import create_engine
from core.embedded.postgres import EmbeddedPostgres
from core.journal import Journal, read_entries
from serving.traffic.policy import Mode, Traffic
from trading import records
from trading.config import TraderConfig
from trading.ledger import tables
from trading.replay import replay_session
from training.online import Comparison, findings_of
from training.online.counterfactual import CounterfactualPath
from training.online.decisions import DecisionStep, InstrumentStep, read_steps
from training.online.findings import found

STEPS = 42
AWAY = range(20, 23)
Session = tuple[TraderConfig, TwoVersions, str]


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The champion answers every decision, the challenger is scored."""
    folder = tmp_path_factory.mktemp("shadow")
    config, predictor = asyncio.run(trade_with_two(folder, STEPS, Traffic(mode=Mode.SHADOW)))
    url = f"sqlite:///{folder / 'ledger.db'}"
    project(config, url)
    return config, predictor, url


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Half of the cells are the challenger's; for three steps nobody answers."""
    folder = tmp_path_factory.mktemp("canary")
    traffic = Traffic(mode=Mode.CANARY, share=0.5, block_seconds=86400, salt="r")
    config, predictor = asyncio.run(trade_with_two(folder, STEPS, traffic, AWAY))
    url = f"sqlite:///{folder / 'ledger.db'}"
    project(config, url)
    return config, predictor, url


def rows(url: str, table: sa.Table) -> list[sa.Row]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = list(connection.execute(sa.select(table)))
    engine.dispose()
    return found


def test_the_ledger_holds_every_alternative_and_what_sizing_saw(shadow: Session) -> None:
    config, predictor, url = shadow
    others, seen = rows(url, tables.alternatives), rows(url, tables.scoring)
    assert len(others) == len(seen) == len(rows(url, tables.predictions)) == STEPS * len(config.instruments)
    assert {(row.model_digest, row.arm, row.model_version) for row in others} == {
        (predictor.challenger, "challenger", "2")
    }
    assert all(row.cost > 0 and row.volatility > 0 and row.base_rate > 0 for row in seen)
    decisions = {row.decision_id: row for row in rows(url, tables.decisions)}
    for row in seen:  # the position sized from is the one the decision names
        units = float(decisions[row.decision_id].current_units)
        assert row.held == pytest.approx(units * row.base_rate / row.equity)


async def test_a_session_with_alternatives_is_made_again(shadow: Session, canary: Session) -> None:
    for config, _, _ in (shadow, canary):
        report = await replay_session(config.session_directory)
        assert report.equal, report.difference.lines() if report.difference else ""
        assert report.records["scoring"] > 30


def revalued(steps: list[DecisionStep]) -> float:
    """Return what the account books beyond the path: standing profit in other currencies, as their rates move."""
    entry: dict[str, float] = {}
    total = 0.0
    for step, later in itertools.pairwise(steps):
        for name, seen in step.instruments.items():
            before, after = float(seen.current_units), float(later.instruments[name].current_units)
            if before * after <= 0 or name not in entry:
                entry[name] = seen.mid
            elif abs(after) > abs(before):
                entry[name] = (entry[name] * abs(before) + seen.mid * (abs(after) - abs(before))) / abs(after)
            moved = later.instruments[name].quote_rate - seen.quote_rate
            total += after * (seen.mid - entry[name]) * moved / step.equity
    return total


def test_the_champions_path_is_what_the_account_earned(shadow: Session) -> None:
    """Where the champion traded every decision: the same units at every step, the same money but for stated effects.

    The account revalues standing profit at new rates and marks at the side a position would be closed at; slippage is
    in the noted cost, and a practice account has none.
    """
    config, predictor, url = shadow
    engine = create_engine(url)
    steps = read_steps(engine, config.strategy, 0)
    engine.dispose()
    rules = rules_of(config)
    champion, challenger = found(steps, predictor.comparison(), rules).arms
    path = CounterfactualPath(config.strategy, (predictor.champion,), rules.sizing, rules.limits)
    for step, later in itertools.pairwise(steps):
        path.mark(step, later.instruments, path.decide(step))
        assert path.units == {name: seen.current_units for name, seen in later.instruments.items()}
    assert sum(path.returns) == pytest.approx(champion.net_return)
    earned = sum((later.equity - step.equity) / step.equity for step, later in itertools.pairwise(steps))
    last = steps[-1]
    closing = sum(
        abs(float(seen.current_units)) * seen.mid * seen.cost / 2.0 * seen.quote_rate / last.equity
        for seen in last.instruments.values()
    )
    assert champion.net_return + revalued(steps) == pytest.approx(earned, abs=closing + 0.2 * champion.cost)
    assert abs(earned) > 20 * closing
    assert champion.traded == champion.decisions == (STEPS - 1) * len(config.instruments)
    assert challenger.traded == 0
    assert challenger.net_return != pytest.approx(champion.net_return, rel=0.01)


def test_counts_blocks_and_what_is_not_over_yet(shadow: Session) -> None:
    config, predictor, url = shadow
    findings = findings_of(url, predictor.comparison(), rules_of(config))
    names = len(config.instruments)
    assert (findings.decisions, findings.pending) == ((STEPS - 1) * names, names)
    assert findings.blocks == (STEPS - 1) // 5
    assert findings.difference.low < findings.difference.mean < findings.difference.high
    assert [(test.name, test.threshold) for test in findings.tests] == [
        ("benefit", pytest.approx(20)),
        ("harm", pytest.approx(20)),
        ("calibration", pytest.approx(100)),
    ]
    for arm in findings.arms:
        assert arm.log_loss is not None
        assert arm.log_loss > 0
    # The present step of a release counts from its own begin; the tests look at everything.
    steps = sorted({row.time_ns for row in rows(url, tables.decisions)})
    later = findings_of(url, predictor.comparison(step_since_ns=steps[20]), rules_of(config))
    assert later.decisions == (STEPS - 1 - 20) * names
    assert later.blocks == findings.blocks - 4
    assert later.tests == findings.tests
    assert later.difference == findings.difference


def test_the_beginning_does_not_change_when_more_is_known(shadow: Session, tmp_path: Path) -> None:
    config, predictor, url = shadow
    engine = create_engine(url)
    steps = read_steps(engine, config.strategy, 0)
    engine.dispose()
    early = found(steps[:22], predictor.comparison(), rules_of(config))
    again = found(steps[:22], predictor.comparison(), rules_of(config))
    assert early == again
    assert early.blocks == 4
    # A projection cut off in the middle of a step shows whole steps only.
    whole = config.session_directory / "journal"
    decided = [
        entry.sequence
        for entry in read_entries(whole)
        if isinstance(record := records.decode(entry), records.DecisionMade) and record.time_ns == steps[21].time_ns
    ]
    part = f"sqlite:///{tmp_path / 'part.db'}"
    project(config, part, decided[1])
    assert findings_of(part, predictor.comparison(), rules_of(config)) == found(
        steps[:21], predictor.comparison(), rules_of(config)
    )


def test_each_version_is_sized_by_the_parameters_it_brings(shadow: Session, canary: Session) -> None:
    own = {1: {"target_volatility": 0.06}, 2: {"kelly_fraction": 0.2, "rebalance_threshold": 0.05}}
    for config, predictor, url in (shadow, canary):
        for table in (tables.predictions, tables.alternatives):
            for row in rows(url, table):
                assert msgspec.json.decode(row.strategy) == own[int(row.model_version)]
        engine = create_engine(url)
        steps = read_steps(engine, config.strategy, 0)
        engine.dispose()
        rules = rules_of(config)
        plain = [
            DecisionStep(
                step.time_ns, {name: without_strategy(seen) for name, seen in step.instruments.items()}, step.equity
            )
            for step in steps
        ]
        with_own, without = found(steps, predictor.comparison(), rules), found(plain, predictor.comparison(), rules)
        for arm, other in zip(with_own.arms, without.arms, strict=True):
            assert arm.net_return != other.net_return
            assert arm.log_loss == other.log_loss


def without_strategy(seen: InstrumentStep) -> InstrumentStep:
    answers = {digest: dataclasses.replace(answer, strategy=()) for digest, answer in seen.answers.items()}
    return dataclasses.replace(seen, answers=answers)


def test_in_canary_both_paths_are_of_all_decisions(canary: Session) -> None:
    config, predictor, url = canary
    findings = findings_of(url, predictor.comparison(), rules_of(config))
    champion, challenger = findings.arms
    compared = (STEPS - 1 - len(AWAY)) * len(config.instruments)
    assert champion.decisions == challenger.decisions == findings.decisions == compared
    assert champion.traded + challenger.traded == compared
    assert champion.traded > 0.2 * compared
    assert challenger.traded > 0.2 * compared
    assert findings.blocks == (STEPS - 1 - len(AWAY)) // 5


def test_with_the_arms_exchanged_benefit_is_harm(canary: Session) -> None:
    config, predictor, url = canary
    findings = findings_of(url, predictor.comparison(), rules_of(config))
    turned = findings_of(
        url, Comparison(config.strategy, predictor.challenger, predictor.champion, 0), rules_of(config)
    )
    benefit, harm = findings.test("benefit"), findings.test("harm")
    assert benefit is not None
    assert harm is not None
    other = turned.test("harm")
    assert other is not None
    assert other.e_value == pytest.approx(benefit.e_value)
    assert turned.difference.mean == pytest.approx(-findings.difference.mean)
    assert turned.difference.low == pytest.approx(-findings.difference.high)


def test_asked_again_it_looks_at_new_decisions_only(canary: Session, tmp_path: Path) -> None:
    config, predictor, url = canary
    rules, whom = rules_of(config), predictor.comparison()
    grown = f"sqlite:///{tmp_path / 'grown.db'}"
    last = max(entry.sequence for entry in read_entries(config.session_directory / "journal"))
    seen = []
    for part in (last // 3, 2 * last // 3, last):
        project(config, grown, part)
        first = findings_of(grown, whom, rules)
        assert findings_of(grown, whom, rules) is first
        seen.append(first.decisions)
    assert seen == sorted(set(seen))
    assert first == findings_of(url, whom, rules)
    other = findings_of(grown, whom, rules_of(config, block_steps=4))
    assert other.blocks != first.blocks


def test_a_decision_finished_after_a_crash_is_scored_once(shadow: Session, tmp_path: Path) -> None:
    """Killed between what sizing saw and the decision, a restart notes it again: the ledger holds the newer one."""
    config, predictor, url = shadow
    journal = config.session_directory / "journal"
    with Journal(tmp_path / "session" / "journal") as again:
        repeated = 0
        for entry in read_entries(journal):
            record = records.decode(entry)
            if isinstance(record, records.ScoringNoted) and repeated < 5:
                repeated += 1
                older = msgspec.structs.replace(record, equity=record.equity / 2.0)
                again.append(entry.kind, records.encode(older), entry.time_ns)
            again.append(entry.kind, entry.payload, entry.time_ns)
    assert repeated == 5
    restarted = msgspec.structs.replace(config, session_directory=tmp_path / "session")
    twice = f"sqlite:///{tmp_path / 'twice.db'}"
    project(restarted, twice)
    assert findings_of(twice, predictor.comparison(), rules_of(config)) == findings_of(
        url, predictor.comparison(), rules_of(config)
    )


def test_the_same_findings_come_from_postgresql(
    shadow: Session, canary: Session, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        for number, (config, predictor, url) in enumerate((shadow, canary)):
            server.create_database(f"shadowed_{number}")
            there = server.database_url(f"shadowed_{number}")
            project(config, there)
            assert findings_of(there, predictor.comparison(), rules_of(config)) == findings_of(
                url, predictor.comparison(), rules_of(config)
            )


def test_nothing_compared_is_nothing_proven(shadow: Session) -> None:
    config, predictor, url = shadow
    unknown = Comparison(config.strategy, predictor.champion, "0" * 64, 0)
    findings = findings_of(url, unknown, rules_of(config))
    assert (findings.decisions, findings.blocks) == (0, 0)
    assert all(test.e_value == 1.0 and not test.rejected for test in findings.tests)
    assert (findings.difference.low, findings.difference.high) == (-1.0, 1.0)
    assert findings_of(url, Comparison("another", "a", "b", 0), rules_of(config)).time_ns == 0


def test_a_journal_without_alternatives_is_as_it_was(shadow: Session) -> None:
    config, _, _ = shadow
    entry = next(e for e in read_entries(config.session_directory / "journal") if e.kind == "predictions")
    made = records.decode(entry)
    assert isinstance(made, records.PredictionsMade)
    assert b"alternatives" in entry.payload
    plain = tuple(msgspec.structs.replace(said, alternatives=(), strategy=()) for said in made.predictions)
    payload = records.encode(records.PredictionsMade(made.time_ns, plain))
    assert b"alternatives" not in payload
    fields = list(msgspec.msgpack.decode(payload)["predictions"][0])
    assert fields[:12] == list(plain[0].__struct_fields__[:12])  # up to who answered, as of old
    assert len(fields) == 12
    assert msgspec.msgpack.decode(payload, type=records.PredictionsMade).predictions == plain
