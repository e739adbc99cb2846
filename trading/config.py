"""What one trading session is: one frozen value, digested into the session's journal."""

from pathlib import Path
from typing import Any

import msgspec

from core.digest import digest_value
from core.domain import BarKind
from core.errors import ConfigurationError, IntegrityError
from trading.execution.parameters import ExecutionParameters
from trading.feeds.guard import GuardParameters
from trading.reconciliation.parameters import ReconciliationParameters
from trading.risk.limits import RiskParameters
from trading.strategy.sizing import SizingParameters

_PLACES = frozenset(
    {
        "session_directory",
        "state_path",
        "status_port",
        "prediction_service",
        "kill_switch_path",
        "journal_segment_bytes",
    }
)


class CostParameters(msgspec.Struct, frozen=True):
    """Costs beyond the quoted spread. The spread itself is read from each quote."""

    slippage_pips: float = 0.1  # per side
    commission_per_million: float = 0.0  # account currency, per side


class TraderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One session of one strategy on one account.

    Attributes:
        session_id: names the session in the ledger; the same id and directory resume it.
        session_directory: holds the journal, feature snapshots and the summary.
        account_key: names the account in the lease, without being its number (``practice:ab12…``).
        market: what one step is: a fixing or a time bar.
        instruments: sorted names; the order of the feature state.
        feature_set: name of the feature set the model was made for; this and the next two are the model strategy's.
        state_path: feature state at the start of trading, as the features stage wrote it.
        lookback: feature rows of one window.
        strategy: names the decisions (part of every client order id).
        volatility_feature: column of the feature set holding the volatility of a one-step log return.
        fixing_time, fixing_zone: when a fixing is sampled (``HH:MM`` in that zone), on TARGET business days.
        bar_seconds: length of a time bar.
        step_timeout_seconds: a step with instruments missing is closed this long after its boundary.
        maximum_decision_age_seconds: a decision interrupted by a crash is finished only while it is younger.
        journal_segment_bytes: a journal segment of this size is followed by a new one.
        execution: how orders are worked off.
        volume_profile_digest: of the content of the profile that ``execution`` names; where it lies does not count.
        feed: what counts as a price.
        reconciliation: how often the broker is asked.
        follow_events: whether the session is live: the broker's events are followed and a timer runs in silence. In
            lockstep and replay things happen at events of the feed only.
        kill_switch_path: the file shared by all traders of a state directory; None: one of the session's own.
        prediction_service: whether a service is asked first; answers of the local champion are then a degradation.
        status_port: of the loopback status server; 0 picks a free one, None starts none.
    """

    session_id: str
    session_directory: Path
    account_key: str
    market: BarKind
    instruments: tuple[str, ...]
    strategy: str
    feature_set: str = ""
    state_path: Path = Path()
    lookback: int = 1
    volatility_feature: str = "volatility_21"
    sizing: SizingParameters = SizingParameters()
    costs: CostParameters = CostParameters()
    risk: RiskParameters = RiskParameters()
    execution: ExecutionParameters = ExecutionParameters()
    volume_profile_digest: str = ""
    feed: GuardParameters = GuardParameters()
    reconciliation: ReconciliationParameters = ReconciliationParameters()
    fixing_time: str = "14:15"
    fixing_zone: str = "Europe/Berlin"
    bar_seconds: int = 3600
    step_timeout_seconds: float = 30.0
    maximum_decision_age_seconds: float = 60.0
    snapshot_steps: int = 500
    journal_segment_bytes: int = 64 * 1024 * 1024
    account_currency: str = "USD"
    status_port: int | None = 0
    follow_events: bool = False
    simulated: bool = False
    kill_switch_path: Path | None = None
    prediction_service: bool = False

    def check(self) -> None:
        """Refuse a session that cannot be run.

        Raises:
            ConfigurationError: naming the field.
        """
        if not self.instruments or list(self.instruments) != sorted(set(self.instruments)):
            raise ConfigurationError("instruments of a session must be sorted and unique, and at least one")
        if self.lookback < 1:
            raise ConfigurationError(f"lookback must be at least 1, not {self.lookback}")
        if self.bar_seconds < 1:
            raise ConfigurationError(f"bar_seconds must be at least 1, not {self.bar_seconds}")
        if not self.session_id or not self.strategy:
            raise ConfigurationError("session_id and strategy must not be empty")
        self.sizing.check()
        self.risk.check()
        self.execution.check()
        self.feed.check()
        self.reconciliation.check()

    def content(self) -> bytes:
        """Return everything that decides what the session does (not where its files lie) as JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        del values["execution"]["volume_profile"]
        return msgspec.json.encode({name: value for name, value in values.items() if name not in _PLACES})

    @classmethod
    def from_content(cls, content: bytes, session_directory: Path, state_path: Path) -> "TraderConfig":
        """Read what ``content`` wrote, with files at other places and no status server.

        Raises:
            IntegrityError: it is no configuration of a session.
        """
        try:
            values: dict[str, Any] = msgspec.json.decode(content)
            places = {"session_directory": str(session_directory), "state_path": str(state_path), "status_port": None}
            return msgspec.convert(values | places, cls, dec_hook=lambda _, value: Path(value))
        except (msgspec.MsgspecError, TypeError) as error:
            raise IntegrityError(f"the journal's session configuration cannot be read: {error}") from None

    def digest(self) -> str:
        """Return a digest of ``content``."""
        return digest_value(msgspec.json.decode(self.content()))
