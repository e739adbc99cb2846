"""The figures of the evidence page that are no charts: cards, and rows of tables."""

import math
from typing import Any

import msgspec

from training.evidence.bundle import Bundle

SCORES = ("", "log loss", "skill", "direction skill", "Sharpe, a year", "net a year", "drawdown")


def number(value: Any) -> str:
    """Return a figure of a table as it is read: five digits, yes and no, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.5g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _limits(value: dict[str, float], form: str) -> str:
    return f"{value['low']:{form}} to {value['high']:{form}}"


def cards(bundle: Bundle) -> list[dict[str, str]]:
    """Return the headline figures: value, what it is, and its interval or what it is compared with."""
    result, search = bundle.result, bundle.search
    skill, sharpe = result["skill"], result["strategy"]["sharpe"]
    net = result["strategy"]["net_return_a_year"]
    found = [
        _card(f"{sharpe['value']:+.2f}", "Sharpe ratio after cost", _limits(sharpe, "+.2f")),
        _card(f"{net['value']:+.2%}", "net return a year", _limits(net, "+.2%")),
        _card(f"{skill['value']:+.2%}", f"skill against {bundle.reference}", _limits(skill, "+.2%")),
    ]
    if search is not None:
        luck = search.luck * math.sqrt(search.steps_per_year)
        found.append(_card(f"{search.deflated:.1%}", "probability to beat luck", f"luck alone: {luck:+.2f} a year"))
        if search.overfitting is not None:
            found.append(_card(f"{search.overfitting:.0%}", "overfitting (PBO)", f"{search.splits:,} splits"))
    if bundle.record is not None:
        known = f"worth {search.effective:.1f} independent ones" if search else "not judged together"
        found.append(_card(f"{bundle.record.trials:,}", "trials counted", known))
    if bundle.calibration is not None:
        one = bundle.calibration
        found.append(_card(f"{one.error:.3f}", "calibration error", f"{one.low:.3f} to {one.high:.3f}"))
    return found


def rows_of_scores(bundle: Bundle) -> list[list[tuple[str, str]]]:
    """Return a row of ``SCORES`` for the candidate and for each baseline: figure and interval."""
    return [
        _scores(bundle.candidate, bundle.result),
        *(_scores(name, entry) for name, entry in bundle.baselines.items()),
    ]


def search_rows(bundle: Bundle) -> list[tuple[str, str]]:
    """Return what is known about the search, in words; Sharpe ratios of a year."""
    one = bundle.search
    if one is None:
        return []
    year = math.sqrt(one.steps_per_year)
    return [
        ("trials of the lineage", f"{one.trials:,}"),
        ("… with a return series", f"{one.series:,}"),
        ("… that ever held a position", f"{one.moving:,}"),
        ("independent trials they are worth", f"{one.effective:.1f}"),
        ("… by clusters, by eigenvalues", f"{one.clusters}, {one.effective_by_eigenvalues:.1f}"),
        ("decision times, of a year", f"{one.steps:,}, {one.steps_per_year:g}"),
        ("Sharpe ratio of the candidate", f"{one.sharpe * year:+.2f}"),
        ("… of the best trial", f"{one.best_sharpe * year:+.2f}"),
        ("… expected of luck alone", f"{one.luck * year:+.2f}"),
        ("probability to beat luck (deflated)", f"{one.deflated:.1%}"),
        ("… with the trials' own scatter, as published", f"{one.deflated_published:.1%}"),
        ("decision times needed to exceed luck", number(one.track_record)),
        ("probability of overfitting (PBO)", _or_dash(one.overfitting, ".1%")),
        ("probability of a loss where not chosen", _or_dash(one.loss_probability, ".1%")),
        ("Sharpe ratio there, median", _or_dash(one.out_of_sample_sharpe, "+.2f", year)),
        ("slope, out of sample on in sample", _or_dash(one.degradation, "+.2f")),
        ("p-value against never trading (Hansen)", f"{one.superiority:.3f}"),
        ("… reality check (White)", f"{one.reality_check:.3f}"),
        ("bootstrap block, decision times", f"{one.block:.1f}"),
    ]


def capacity_rows(bundle: Bundle) -> list[tuple[str, str]]:
    """Return capacity and turnover in words."""
    one = bundle.capacity
    return [
        ("equity at which impact takes half", number(one.equity)),
        ("return a year lost at an equity of a million", f"{one.impact_per_million:.3%}"),
        ("turnover a year, multiples of equity", f"{one.turnover:,.1f}"),
        ("mean exposure, multiples of equity", f"{one.mean_exposure:.2f}"),
        ("trades", f"{one.trades:,}"),
    ]


def trial_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the rows of the ledger with their yearly Sharpe ratio where their series entered."""
    record, search = bundle.record, bundle.search
    if record is None:
        return []
    year = math.sqrt(search.steps_per_year) if search else 1.0
    ratios = dict(zip(record.used, search.ratios, strict=False)) if search else {}
    return [
        {
            **msgspec.to_builtins(row),
            "sharpe": f"{ratios[row.id] * year:+.2f}" if row.id in ratios else "–",
            "own": row.id == record.candidate,
        }
        for row in record.rows
    ]


def fields(value: msgspec.Struct) -> list[tuple[str, str]]:
    """Return name and value of each field, those of a mapping one by one."""
    rows: list[tuple[str, str]] = []
    for name, content in msgspec.to_builtins(value).items():
        nested: list[tuple[str, Any]] = list(content.items()) if isinstance(content, dict) else [("", content)]
        rows += [(f"{name} {key}".replace("_", " ").strip(), number(part)) for key, part in nested]
    return rows


def _or_dash(value: float | None, form: str, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:{form}}"


def _card(value: str, title: str, more: str) -> dict[str, str]:
    return {"value": value, "title": title, "more": more}


def _scores(name: str, entry: dict[str, Any]) -> list[tuple[str, str]]:
    strategy, loss = entry["strategy"], entry.get("log_loss")
    return [
        (name.replace("_", " "), ""),
        ("–" if loss is None else f"{loss:.5f}", ""),
        _estimate(entry.get("skill"), "+.2%"),
        _estimate(entry.get("direction_skill"), "+.2%"),
        _estimate(strategy["sharpe"], "+.2f"),
        _estimate(strategy["net_return_a_year"], "+.2%"),
        (f"{strategy['maximum_drawdown']:.1%}", ""),
    ]


def _estimate(value: dict[str, float] | None, form: str) -> tuple[str, str]:
    return (f"{value['value']:{form}}", _limits(value, form)) if value else ("–", "")
