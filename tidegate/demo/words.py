"""What the summary says in words: what is simulated or assumed, and what to do next."""

from typing import Any

from core.domain import BarKind
from core.settings import Settings
from tidegate.platform import Addresses


def assumptions(kind: BarKind, params: dict[str, Any]) -> list[str]:
    slippage = params["costs"].get("slippage_pips", 0)
    if kind is BarKind.FIXING:
        lines = [
            "Prices between two fixings: a seeded bridge of ticks that hits each real fixing exactly.",
            "Spreads: typical retail half-spreads from params.yaml; the source has one price only.",
        ]
    elif params["data"]["source"] == "simulation":
        lines = [
            "THE PRICES: simulated bars, described by the file that data.path names. None of them was ever a price.",
            "The order of prices inside a bar.",
        ]
    else:
        lines = ["The order of prices inside a bar; its open, high, low and close are recorded bid and ask prices."]
    return [
        *lines,
        "The account: a practice broker of our own that speaks OANDA's protocol. No order left this machine.",
        f"Fills at the quote that stands when the order arrives; labels assume {slippage} pips of slippage a side.",
        "No financing is charged for positions held overnight.",
    ]


def next_steps(keep_up: bool, settings: Settings, addresses: Addresses, registered: dict[str, Any]) -> list[str]:
    name, version = registered["name"], registered["version"]
    if keep_up:
        page = addresses.prefect_api_url.removesuffix("/api")
        return [
            f"Prefect: {page} (flow runs retrain and drift); MLflow: {addresses.mlflow_uri} "
            f"(experiment {name}; model {name} version {version})",
            "the services go on running: `tidegate status` shows them, `tidegate down` ends them",
        ]
    return [
        f"`tidegate up`, then Prefect at http://127.0.0.1:{settings.prefect.port} (flow runs retrain and drift) "
        f"and MLflow at http://127.0.0.1:{settings.mlflow.port} (experiment {name}; model {name} version {version})",
        "change params.yaml and run `tidegate retrain`, or try `tidegate demo --market nzdusd_hourly`",
    ]
