"""The charts of the report as plotly fragments in one visual language."""

from typing import Any, cast

from monitoring.report.summary import ChartData, RunSummary

INK, GRID, BLUE, GREEN, RED, AMBER, GREY = "#1c2733", "#e6eaef", "#2463a8", "#2e8b57", "#c0392b", "#d08a1c", "#8a97a6"
_SERIES = [BLUE, AMBER, GREEN, "#7d5ba6", "#3aa6a6", RED, GREY, "#8c5a2b"]


def _figure(title: str, height: int = 340) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "x": 0, "xanchor": "left"},
        height=height,
        margin={"l": 56, "r": 16, "t": 44, "b": 40},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        hovermode="x unified",
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor="#b8c2cd")
    return figure


def _html(figure: Any) -> str:
    options = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    return cast(str, figure.to_html(full_html=False, include_plotlyjs=False, config=options))


def skill_chart(summary: RunSummary) -> str:
    """Skill of each model with its interval; a baseline that is not beaten stands right beside it."""
    import plotly.graph_objects as go

    points = sorted(
        (row.skill, row.skill_low, row.skill_high, row.name, row.baseline)
        for row in summary.models
        if row.skill is not None and row.skill_low is not None and row.skill_high is not None
    )
    figure = _figure("Out-of-sample skill against class frequencies, 95 % block-bootstrap interval")
    figure.add_trace(
        go.Scatter(
            x=[point[0] for point in points],
            y=[point[3] for point in points],
            mode="markers",
            marker={"size": 10, "color": [GREY if point[4] else BLUE for point in points]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [point[2] - point[0] for point in points],
                "arrayminus": [point[0] - point[1] for point in points],
                "color": GREY,
            },
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
            showlegend=False,
        )
    )
    figure.add_vline(x=0, line={"color": RED, "dash": "dot", "width": 1})
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="skill (above 0 is better than the class frequencies)")
    return _html(figure)


def equity_chart(summary: RunSummary, data: ChartData) -> str:
    """Account value while the unseen window was traded, with its drawdown."""
    import plotly.graph_objects as go

    currency = summary.trading.currency
    figure = _figure(f"Account value on unseen data, {currency}", 380)
    figure.add_trace(
        go.Scatter(x=data.equity.times, y=data.equity.values, name="value", line={"color": BLUE, "width": 2})
    )
    figure.add_hline(y=summary.trading.initial_balance, line={"color": GREY, "dash": "dot", "width": 1})
    peak, drawdown = float("-inf"), list[float]()
    for value in data.equity.values:
        peak = max(peak, value)
        drawdown.append(100.0 * (value / peak - 1.0))
    figure.add_trace(
        go.Scatter(
            x=data.equity.times,
            y=drawdown,
            name="drawdown, %",
            yaxis="y2",
            fill="tozeroy",
            line={"color": RED, "width": 0.5},
            fillcolor="rgba(192,57,43,0.12)",
        )
    )
    figure.update_layout(
        yaxis={"domain": [0.3, 1.0]}, yaxis2={"domain": [0.0, 0.22], "gridcolor": GRID, "ticksuffix": " %"}
    )
    return _html(figure)


def curves_chart(title: str, curves: dict[str, Any], unit: str) -> str:
    """Several curves on one axis."""
    import plotly.graph_objects as go

    figure = _figure(title)
    for index, (name, curve) in enumerate(curves.items()):
        colour = _SERIES[index % len(_SERIES)]
        figure.add_trace(go.Scatter(x=curve.times, y=curve.values, name=name, line={"color": colour, "width": 1.5}))
    figure.update_layout(showlegend=len(curves) > 1, legend={"y": -0.15, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_yaxes(title=unit)
    return _html(figure)


def calibration_chart(data: ChartData) -> str:
    """Predicted against observed frequency; the diagonal is perfect."""
    import plotly.graph_objects as go

    figure = _figure("Calibration out of sample")
    figure.update_layout(hovermode="closest")
    low = min((row[0] for rows in data.calibration.values() for row in rows), default=0.0)
    high = max((row[0] for rows in data.calibration.values() for row in rows), default=1.0)
    figure.add_trace(
        go.Scatter(x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "dash": "dot"}, name="perfect")
    )
    for index, (name, rows) in enumerate(data.calibration.items()):
        weights = [row[2] for row in rows]
        largest = max(weights, default=1.0) or 1.0
        figure.add_trace(
            go.Scatter(
                x=[row[0] for row in rows],
                y=[row[1] for row in rows],
                mode="lines+markers",
                name=name,
                line={"color": _SERIES[index % len(_SERIES)]},
                marker={"size": [5 + 12 * (weight / largest) ** 0.5 for weight in weights]},
            )
        )
    figure.update_xaxes(title="predicted probability")
    figure.update_yaxes(title="observed frequency")
    return _html(figure)


def trades_chart(data: ChartData) -> str:
    """Price with the fills on it, one instrument at a time by a menu."""
    import plotly.graph_objects as go

    figure = _figure("Fills on the price", 420)
    figure.update_layout(hovermode="closest")
    names = list(data.prices)
    for index, name in enumerate(names):
        curve, shown = data.prices[name], index == 0
        figure.add_trace(
            go.Scatter(x=curve.times, y=curve.values, name=name, line={"color": INK, "width": 1}, visible=shown)
        )
        for label, sign, symbol, colour in (("buy", 1, "triangle-up", GREEN), ("sell", -1, "triangle-down", RED)):
            rows = [row for row in data.trades.get(name, []) if float(row[2]) * sign > 0]
            figure.add_trace(
                go.Scatter(
                    x=[row[0] for row in rows],
                    y=[float(row[1]) for row in rows],
                    text=[f"{float(row[2]):+,.0f} units, {row[3]}" for row in rows],
                    mode="markers",
                    name=label,
                    marker={"symbol": symbol, "size": 8, "color": colour},
                    hovertemplate="%{x}<br>%{y}<br>%{text}<extra></extra>",
                    visible=shown,
                )
            )
    buttons = [
        {"label": name, "method": "update", "args": [{"visible": [i // 3 == index for i in range(3 * len(names))]}]}
        for index, name in enumerate(names)
    ]
    figure.update_layout(updatemenus=[{"buttons": buttons, "x": 0.15, "y": 1.16, "xanchor": "left", "yanchor": "top"}])
    return _html(figure)


def latency_chart(summary: RunSummary) -> str:
    """Latency percentiles of each hop on a logarithmic axis."""
    import plotly.graph_objects as go

    figure = _figure("Latency of each hop, milliseconds (logarithmic)", 320)
    hops = [row.hop for row in summary.latencies]
    for name, colour in (("p50", GREEN), ("p90", AMBER), ("p99", RED)):
        values = [getattr(row, name) for row in summary.latencies]
        figure.add_trace(go.Bar(x=hops, y=values, name=name, marker={"color": colour}))
    figure.update_yaxes(type="log")
    return _html(figure)


def drift_chart(summary: RunSummary, most: int = 20) -> str:
    """The features nearest to or beyond their thresholds."""
    import plotly.graph_objects as go

    rows = sorted(summary.drift.get("features", []), key=lambda row: row["index"] / max(row["threshold"], 1e-12))[
        -most:
    ]
    figure = _figure("Live window against training window: stability index relative to its threshold", 460)
    ratios = [row["index"] / max(row["threshold"], 1e-12) for row in rows]
    colours = [RED if row["drifted"] else BLUE for row in rows]
    figure.add_trace(
        go.Bar(
            x=ratios, y=[row["feature"] for row in rows], orientation="h", marker={"color": colours}, showlegend=False
        )
    )
    figure.add_vline(x=1, line={"color": RED, "dash": "dot", "width": 1})
    figure.update_layout(margin={"l": 190}, hovermode="closest")
    figure.update_xaxes(title="1 = the quantile of historical windows that leaves the stated false-alarm rate")
    return _html(figure)
