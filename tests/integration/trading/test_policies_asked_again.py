"""A session over three traffic policies, predicted again from the store alone: the same arms, numbers and sizes."""

import asyncio
import shutil
from pathlib import Path

import pytest
from serving_packages import approval_of, verified
from test_trading_loop_paper import trade_on_paper
from trading_session import make_config, make_panel, write_state

from core.domain import AnsweredBy, BarKind, Prediction, PredictionRequest
from core.errors import BadInputError
from core.journal import read_entries
from features.sets import feature_set
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore
from serving.traffic.policy import Blend, Mode, Traffic, Weighting
from tidegate.asked_again import policies_again
from trading import records
from trading.config import TraderConfig
from trading.replay import replay_session

STRATEGY, STEPS = "test", 24


class ChangingPolicies:
    """The trader's own predictor over a store whose policy is changed at the ninth and the seventeenth request."""

    def __init__(self, folder: Path, config: TraderConfig) -> None:
        chosen = feature_set(config.feature_set)
        self._store = ModelStore(folder / "serving")
        packages = [
            verified(
                folder / f"package {bias}",
                bias=bias,
                strategy=STRATEGY,
                lookback=config.lookback,
                features=len(chosen.columns),
                feature_digest=chosen.digest,
                sizing={"kelly_fraction": 0.1} if bias else None,
            )
            for bias in (0.0, 3.0)
        ]
        for package in packages:
            self._store.add(package)
        self._approvals = approval_of(packages[0], "1"), approval_of(packages[1], "2", 2)
        self._core = PredictorCore()
        self._loader = ChampionLoader(self._store, self._core, 3600.0)
        self._asked = 0

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        champion, challenger = self._approvals
        canary = Traffic(mode=Mode.CANARY, share=0.5, block_seconds=86400, salt="r")
        blend = Blend(weighting=Weighting.CONFIDENCE, first=0.1, weight=0.9, end_ns=request.time_ns + 10**15)
        if self._asked == 0:
            self._store.move(champion)
        elif self._asked == 8:
            self._store.set_policy(STRATEGY, champion=champion, challenger=challenger, traffic=canary)
        elif self._asked == 16:
            traffic = Traffic(mode=Mode.BLEND, blend=blend)
            self._store.set_policy(STRATEGY, champion=champion, challenger=challenger, traffic=traffic)
        self._asked += 1
        self._loader.refresh()
        return self._core.predict(request).predictions(request, AnsweredBy.LOCAL)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """State directory and session folder."""
    folder = tmp_path_factory.mktemp("policies")
    panel = make_panel(BarKind.FIXING, STEPS)
    config = make_config(folder, BarKind.FIXING)
    assert config.strategy == STRATEGY
    write_state(panel, config.feature_set, config.state_path)
    asyncio.run(trade_on_paper(config, panel, ChangingPolicies(folder, config)))
    return folder, config.session_directory


async def test_every_prediction_is_made_again_under_its_policy(session: tuple[Path, Path]) -> None:
    state, folder = session
    written = [records.decode(entry) for entry in read_entries(folder / "journal")]
    made = [record for record in written if isinstance(record, records.PredictionsMade)]
    said = [prediction for record in made for prediction in record.predictions]
    assert {prediction.policy_revision for prediction in said} == {1, 2, 3}
    assert {prediction.arm for prediction in said} == {"champion", "challenger", "blend"}
    assert any(share.values for prediction in said for share in prediction.strategy)
    report = await replay_session(folder, again=policies_again(state, folder))
    assert report.equal, report.difference.lines() if report.difference else ""
    assert report.recomputed == len(said)


def test_without_the_policies_several_models_cannot_be_asked_again(session: tuple[Path, Path], tmp_path: Path) -> None:
    state, folder = session
    shutil.copytree(state / "serving", tmp_path / "serving")
    (tmp_path / "serving" / STRATEGY / "policies" / "2.json").unlink()
    with pytest.raises(BadInputError, match="does not have the policies"):
        policies_again(tmp_path, folder)
