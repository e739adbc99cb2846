"""``bundle.html``: the verdict and the evidence behind it on one page that needs nothing else."""

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from core.files import write_bytes
from serving.release.evidence import Verdict
from training.evidence.bundle import Bundle
from training.evidence.policy import GatePolicy

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d6dce5}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e6eaf0}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.ok{color:#116329}.no{color:#a40e26}
code{font-size:.85em;overflow-wrap:anywhere}.note{color:#57606a}.wide{overflow-x:auto}
@media(prefers-color-scheme:dark){body{background:#0f1419;color:#dfe5ec}h2,td,th{border-color:#2b333d}
.ok{color:#57c274}.no{color:#ff7b8a}.note{color:#96a0ab}}
"""


def write_page(path: Path, bundle: Bundle, verdict: Verdict, policy: GatePolicy) -> None:
    """Write the page; the same evidence gives the same bytes."""
    write_bytes(path, _page(bundle, verdict, policy).encode())


def _page(bundle: Bundle, verdict: Verdict, policy: GatePolicy) -> str:
    failed = sum(not rule.passed for rule in verdict.rules)
    outcome = "passed" if verdict.passed else f"refused by {failed} of {len(verdict.rules)} rules"
    parts = [
        f"<h1>{escape(bundle.market)}: {escape(bundle.candidate)}</h1>",
        f"<p class={'ok' if verdict.passed else 'no'}><b>The offline gate: {escape(outcome)}.</b></p>",
        _section("Verdict", _rules(verdict)),
        _section("The search", _search(bundle)),
        _section("Out of sample", _scores(bundle)),
        _section("Cost", _structs(bundle.stress)),
        _section("Capacity and turnover", _fields(bundle.capacity)),
        _section("Regimes", _structs(bundle.regimes)),
        _section("Folds", _folds(bundle)),
        _section("Drift at the cut-off", _drift(bundle)),
        _section("Leak checks", _structs(bundle.leaks.rules) if bundle.leaks else _none()),
        _section("Champion", _fields(bundle.champion) if bundle.champion else _none()),
        _section("Model", _fields(bundle.model) if bundle.model else _none()),
        _section("Trials", _trials(bundle)),
        _section("Lineage", _fields(bundle.sources) if bundle.sources else _none()),
        _section("Policy", _fields(policy)),
        _section("Notes", "".join(f"<p class=note>{escape(note)}</p>" for note in bundle.notes) or _none()),
        f"<p class=note>Digest of bundle.json: <code>{bundle.digest}</code></p>",
    ]
    title = f"<title>{escape(bundle.market)} {escape(bundle.candidate)}: evidence</title>"
    head = '<meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
    return f"<!doctype html><html lang=en>{head}{title}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2><div class=wide>{body}</div>"


def _none() -> str:
    return "<p class=note>None.</p>"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.5g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return str(value)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    def cell(value: Any) -> str:
        kind = " class=n" if isinstance(value, int | float) and not isinstance(value, bool) else ""
        return f"<td{kind}>{escape(_number(value))}</td>"

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _fields(value: msgspec.Struct) -> str:
    rows: list[list[Any]] = []
    for name, content in msgspec.to_builtins(value).items():
        nested = content.items() if isinstance(content, dict) else [(None, content)]
        rows += [[name.replace("_", " ") + (f": {key}" if key else ""), part] for key, part in nested]
    return _table(["what", "value"], rows)


def _structs(values: tuple[Any, ...]) -> str:
    if not values:
        return _none()
    names = list(values[0].__struct_fields__)
    return _table([name.replace("_", " ") for name in names], [[getattr(one, n) for n in names] for one in values])


def _rules(verdict: Verdict) -> str:
    rows = "".join(
        f"<tr><td class={'ok' if rule.passed else 'no'}>{'passed' if rule.passed else 'failed'}</td>"
        f"<td>{escape(rule.rule.replace('_', ' '))}</td><td class=n>{_number(rule.value)}</td>"
        f"<td class=n>{_number(rule.limit)}</td><td>{escape(rule.words)}</td></tr>"
        for rule in verdict.rules
    )
    head = "<tr><th></th><th>rule</th><th>value</th><th>limit</th><th>in words</th></tr>"
    return f"<table>{head}{rows}</table>"


def _search(bundle: Bundle) -> str:
    return _fields(bundle.search) if bundle.search else _none()


def _scores(bundle: Bundle) -> str:
    def row(name: str, entry: dict[str, Any]) -> list[Any]:
        skill, strategy = entry.get("skill"), entry["strategy"]
        sharpe, net = strategy["sharpe"], strategy["net_return_a_year"]
        return [
            name,
            entry.get("log_loss"),
            _interval(skill) if skill else None,
            _interval(entry["direction_skill"]) if "direction_skill" in entry else None,
            _interval(sharpe),
            _interval(net),
            strategy["maximum_drawdown"],
            entry.get("calibration_error"),
        ]

    header = ["model", "log loss", "skill", "direction skill", "Sharpe", "net a year", "drawdown", "calibration error"]
    rows = [row(bundle.candidate, bundle.result), *(row(name, bundle.baselines[name]) for name in bundle.baselines)]
    return _table(header, rows)


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})"


def _folds(bundle: Bundle) -> str:
    header = ["fold", "training rows", "from", "labels end", "test rows", "from", "to"]
    rows = [
        [
            fold.number + 1, fold.train_rows, _day(fold.train_start_ns), _day(fold.train_end_ns),
            fold.test_rows, _day(fold.test_start_ns), _day(fold.test_end_ns),
        ]
        for fold in bundle.folds
    ]  # fmt: skip
    return _table(header, rows)


def _drift(bundle: Bundle) -> str:
    drift = bundle.drift
    said = (
        f"<p>{drift.share:.0%} of {drift.features} features moved in the last {drift.window_steps} decision times; "
        f"a window of the past shows up to {drift.typical:.0%}.</p>"
    )
    return said + _structs(drift.moved)


def _trials(bundle: Bundle) -> str:
    record = bundle.record
    if record is None:
        return _none()
    counts = ", ".join(f"{count} {status}" for status, count in record.by_status.items())
    gaps = "".join(f"<p class=no>{escape(gap)}</p>" for gap in record.gaps)
    said = f"<p>Lineage {escape(record.lineage)}: {record.trials} trials ({escape(counts)}).</p>{gaps}"
    used = set(record.used)
    rows = [
        [row.id, row.study, row.kind, row.subject, row.status, "yes" if row.id in used else "no"] for row in record.rows
    ]
    return said + _table(["trial", "study", "kind", "subject", "status", "in the matrix"], rows)


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
