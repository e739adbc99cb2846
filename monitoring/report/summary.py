"""What the report and the terminal summary are made of. Plain values: the JSON of ``--json`` is exactly this."""

from typing import Any

import msgspec


class StageRecord(msgspec.Struct, frozen=True):
    """One stage of the run: what it did, how long it took, where its result can be looked at."""

    name: str
    title: str
    seconds: float
    result: str
    links: dict[str, str] = {}


class ModelSkill(msgspec.Struct, frozen=True):
    """Out-of-sample evidence for one model or baseline; skill is 1 − loss / loss of the class frequencies.

    None where a baseline claims no probabilities.
    """

    name: str
    baseline: bool
    log_loss: float | None
    skill: float | None
    skill_low: float | None
    skill_high: float | None
    brier: float | None
    hit_rate: float | None
    net_return_per_year: float | None
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    note: str = ""


class HopLatency(msgspec.Struct, frozen=True):
    """Latency of one hop of the loop, milliseconds."""

    hop: str
    samples: int
    p50: float
    p90: float
    p99: float


class Difference(msgspec.Struct, frozen=True):
    """One line of the reconciliation: what our ledger says, what the broker says."""

    item: str
    ours: str
    broker: str
    equal: bool


class Trading(msgspec.Struct, frozen=True):
    """The trading of the unseen window."""

    session: str
    first_decision: str
    last_decision: str
    decisions: int
    answered_by: dict[str, int]
    orders: int
    fills: int
    stops_hit: int
    rejects: dict[str, int]
    hit_rate: float | None  # None without a round trip
    hits: int
    closed: int
    profit: float
    profit_realised: float
    profit_unrealised: float
    costs: dict[str, float]
    initial_balance: float
    final_value: float
    maximum_drawdown: float
    currency: str
    seconds: float


class Curve(msgspec.Struct, frozen=True):
    """A time series for a chart; times are ISO strings."""

    times: list[str]
    values: list[float]


class RunSummary(msgspec.Struct, frozen=True):
    """Everything one run of the demo found out."""

    market: str
    instruments: list[str]
    started: str
    seconds: float
    simulated: list[str]  # what in this run is simulated or assumed, in words
    stages: list[StageRecord]
    quality: dict[str, Any]
    models: list[ModelSkill]
    verdict: dict[str, Any]
    let_through: str  # why the model trades, in words
    registered: dict[str, str]
    trading: Trading
    latencies: list[HopLatency]
    reconciliation: list[Difference]
    parity: dict[str, Any]
    replay: dict[str, Any]  # the journal through the loop again
    drift: dict[str, Any]
    digests: dict[str, str]
    memory_peak_mb: float
    reports: dict[str, str]
    next_steps: list[str]


class ChartData(msgspec.Struct, frozen=True):
    """Series that only the page needs."""

    equity: Curve
    out_of_sample_equity: dict[str, Curve]
    calibration: dict[str, list[list[float]]]  # model → rows of [predicted, observed, weight]
    prices: dict[str, Curve]
    trades: dict[str, list[list[Any]]]  # instrument → rows of [time, price, units, reason]
    exposure: Curve
    images: dict[str, str]  # title → path of a PNG to embed
