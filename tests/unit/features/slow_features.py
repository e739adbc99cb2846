"""Every feature again, slowly, with pandas and plain loops: nothing here shares code with the kernel."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd


def average(series: pd.Series, half_life: float) -> pd.Series:
    return series.ewm(halflife=half_life, adjust=False, ignore_na=True).mean()


def smooth(series: pd.Series, rows: int) -> pd.Series:
    return series.ewm(alpha=1.0 / rows, adjust=False, ignore_na=True).mean()


def deviation(series: pd.Series, half_life: float) -> pd.Series:
    return np.sqrt(series.ewm(halflife=half_life, adjust=False, ignore_na=True).var(bias=True))


def divided(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    return numerator / denominator.where(denominator > 0)


def price_features(p: pd.Series, times: list[int]) -> dict[str, pd.Series]:
    r = p.diff()
    result: dict[str, pd.Series] = {f"return_{h}": p - p.shift(h) for h in (1, 2, 3, 5, 10, 21, 63, 126, 252)}
    sigma = {h: np.sqrt(average(r**2, h)) for h in (5, 21, 63)}
    result |= {f"volatility_{h}": sigma[h] for h in sigma}
    result["volatility_ratio_5_21"] = divided(sigma[5], sigma[21])
    result["volatility_ratio_21_63"] = divided(sigma[21], sigma[63])
    result["volatility_of_volatility_21"] = divided(deviation(sigma[5], 21), average(sigma[5], 21))
    result["shock"] = divided(r, sigma[21].shift(1))
    for h in (5, 21):
        result[f"normalised_return_{h}"] = divided(p - p.shift(h), sigma[21] * math.sqrt(h))
    for fast, slow in ((8, 24), (16, 48), (32, 96)):
        result[f"momentum_{fast}_{slow}"] = divided(smooth(p, fast) - smooth(p, slow), sigma[21])
    for h in (21, 63):
        result[f"zscore_{h}"] = divided(p - average(p, h), deviation(p, h))
    gains, losses = smooth(r.clip(lower=0), 14), smooth((-r).clip(lower=0), 14)
    result["relative_strength_index_14"] = (100 - 100 / (1 + gains / losses)) / 50 - 1
    for n in (10, 63):
        result[f"efficiency_ratio_{n}"] = divided((p - p.shift(n)).abs(), r.abs().rolling(n).sum())
    for n in (21, 63, 252):
        high, low = p.rolling(n).max(), p.rolling(n).min()
        result[f"range_position_{n}"] = divided(p - low, high - low)
        if n > 21:
            result[f"drawdown_{n}"] = p - high
    result["autocorrelation_63"] = divided(average(r * r.shift(1), 63), average(r**2, 63))
    result["variance_ratio_5"] = divided(average((p - p.shift(5)) ** 2, 63), 5 * average(r**2, 63))
    result["skewness_63"] = divided(average(r**3, 63), sigma[63] ** 3)
    result["kurtosis_63"] = divided(average(r**4, 63), sigma[63] ** 4)
    result["downside_share_63"] = divided(average((r**2).where(~(r >= 0), 0.0), 63), average(r**2, 63))
    result["bipower_share_63"] = math.pi / 2 * divided(average((r * r.shift(1)).abs(), 63), average(r**2, 63))
    stamps = pd.Series(times, index=p.index)
    result["gap_hours"] = stamps.diff() / 3_600e9
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=item // 1000) for item in times]
    result["day_of_week"] = pd.Series([float(moment.weekday()) for moment in moments], index=p.index)
    month_ends = [(moment.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1) for moment in moments]
    result["days_to_month_end"] = pd.Series(
        [float(end.day - moment.day) for end, moment in zip(month_ends, moments, strict=True)], index=p.index
    )
    return result


def bar_features(rows: pd.DataFrame, p: pd.Series, sigma_21: pd.Series, times: list[int]) -> dict[str, pd.Series]:
    middle = {name: (rows[f"bid_{name}"] + rows[f"ask_{name}"]) / 2 for name in ("open", "high", "low", "close")}
    whole = middle["open"].notna() & middle["high"].notna() & middle["low"].notna()
    o, h, low = (np.log(middle[name]).where(whole) for name in ("open", "high", "low"))
    c = p.where(whole)
    before = p.shift(1)
    result = {
        "parkinson_21": np.sqrt(average((h - low) ** 2 / (4 * math.log(2)), 21)),
        "garman_klass_21": np.sqrt(average(0.5 * (h - low) ** 2 - (2 * math.log(2) - 1) * (c - o) ** 2, 21)),
        "rogers_satchell_21": np.sqrt(average((h - c) * (h - o) + (low - c) * (low - o), 21)),
    }
    result["parkinson_ratio_21"] = divided(result["parkinson_21"], sigma_21)
    true_range = np.fmax(h, before.where(whole)) - np.fmin(low, before.where(whole))
    result["average_true_range_14"] = smooth(true_range, 14)
    result["true_range_ratio_14"] = divided(true_range, result["average_true_range_14"].shift(1))
    result["close_location"] = divided(c - low, h - low)
    result["body_share"] = divided(c - o, h - low)
    result["opening_gap"] = o - before
    result = {name: series.where(whole) for name, series in result.items()}
    spread = (rows["ask_close"] - rows["bid_close"]) / middle["close"]
    result["spread_relative"] = spread
    result["spread_zscore_63"] = divided(spread - average(spread, 63), deviation(spread, 63))
    result["spread_volatility_ratio_21"] = divided(spread, sigma_21)
    ticks = rows["tick_volume"]
    known = ticks.notna()
    result["tick_activity_63"] = divided(ticks, average(ticks, 63).shift(1)).where(known)
    result["tick_zscore_63"] = divided(ticks - average(ticks, 63), deviation(ticks, 63)).where(known)
    clock = [calendar_of(item) for item in times]
    for name in clock[0]:
        result[name] = pd.Series([row[name] for row in clock], index=p.index)
    return result


def calendar_of(time_ns: int) -> dict[str, float]:
    """The clock features of one moment, from the time zone database."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time_ns // 1_000_000_000)
    angle = 2 * math.pi * (moment - moment.replace(hour=0, minute=0, second=0)).total_seconds() / 86_400
    result = {"hour_sine": math.sin(angle), "hour_cosine": math.cos(angle)}
    local = moment.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    monday = (local - timedelta(days=local.weekday())).replace(hour=0, minute=0, second=0)
    close, opens = monday + timedelta(days=4, hours=17), monday + timedelta(days=6, hours=17)
    if local > close:
        close = local if local < opens else close + timedelta(days=7)
    result["minutes_to_weekend"] = (close - local).total_seconds() / 60
    sessions = (
        ("tokyo", "Asia/Tokyo", 9, 18),
        ("london", "Europe/London", 8, 17),
        ("new_york", "America/New_York", 8, 17),
    )
    for name, zone, opening, closing in sessions:
        there = moment.astimezone(ZoneInfo(zone))
        clock = there.hour * 3600 + there.minute * 60 + there.second
        inside = there.weekday() < 5 and opening * 3600 < clock <= closing * 3600
        result[f"session_{name}"] = 1.0 if inside else 0.0
    return result


def strengths(returns: dict[str, pd.Series], horizon: int) -> dict[str, dict[str, pd.Series]]:
    """Currency strength of one horizon: instrument -> column -> series over all steps."""
    frame = pd.DataFrame(returns)
    result = {name: {} for name in returns}
    columns = ("base_strength", "quote_strength", "strength_difference", "currency_dispersion")
    values = {name: {column: [] for column in columns} for name in returns}
    for _, row in frame.iterrows():
        legs: dict[str, list[float]] = {}
        for name, move in row.dropna().items():
            base, quote = str(name).split("_")
            legs.setdefault(base, []).append(move)
            legs.setdefault(quote, []).append(-move)
        strength = {currency: float(np.mean(moves)) for currency, moves in legs.items()}
        for name in returns:
            base, quote = name.split("_")
            if np.isnan(row[name]):
                answer = (math.nan,) * 4
            else:
                spread = float(np.std(list(strength.values())))
                answer = (strength[base], strength[quote], strength[base] - strength[quote], spread)
            for column, value in zip(columns, answer, strict=True):
                values[name][column].append(value)
    for name in returns:
        for column in columns:
            result[name][f"{column}_{horizon}"] = pd.Series(values[name][column], index=frame.index)
    return result
