"""What every feature means: formula, unit, source. ``features.describe`` renders it; warm-ups come from the kernel.

Notation: p is the natural logarithm of the closing mid price of the instrument's own bars (a step without a bar is no
row), r = p(t) − p(t−1), E_h[x] the exponential average of x with half-life h rows (weight 1 − 2^(−1/h), started at the
first value), A_n[x] the one with weight 1/n, σ_h = sqrt(E_h[r²]) per row. O, H, L, C are middles of bid and ask. A
ratio whose denominator is not positive has no value (NaN), as has every feature before its warm-up and in a row
without a bar.

Carry is not among the features: no source of interest rates is part of the catalog, and a carry made of nothing would
be invented. A rates source would add it here.
"""

from dataclasses import dataclass

from features.kernel import COLUMNS, WARM_UP

OWN = "definition"
RISKMETRICS = "J.P. Morgan, RiskMetrics Technical Document (1996), ch. 5; zero mean"
WILDER = "Wilder, New Concepts in Technical Trading Systems (1978)"
BAZ = "Baz, Granger, Harvey, Le Roux, Rattray, Dissecting Investment Strategies (2015), eq. 1"
KAUFMAN = "Kaufman, Smarter Trading (1995)"
FINCH = "Finch, Incremental calculation of weighted mean and variance (2009), sec. 9"
LO_MACKINLAY = "Lo and MacKinlay, Rev. Financial Studies 1 (1988) 41, overlapping, exponential weights"
BARNDORFF = "Barndorff-Nielsen and Shephard, J. Financial Econometrics 2 (2004) 1"
PARKINSON = "Parkinson, J. Business 53 (1980) 61"
GARMAN_KLASS = "Garman and Klass, J. Business 53 (1980) 67, eq. 20 without the opening term"
ROGERS_SATCHELL = "Rogers and Satchell, Annals of Applied Probability 1 (1991) 504"


@dataclass(frozen=True)
class Feature:
    """One column of a feature row.

    Attributes:
        name: column name.
        formula: in the notation of this module.
        unit: of the value.
        source: paper or page.
        warm_up: earlier rows of the instrument before the first value.
    """

    name: str
    formula: str
    unit: str
    source: str
    warm_up: int


def _definitions() -> dict[str, tuple[str, str, str]]:
    rows: dict[str, tuple[str, str, str]] = {}
    for horizon in (1, 2, 3, 5, 10, 21, 63, 126, 252):
        rows[f"return_{horizon}"] = (f"p(t) − p(t−{horizon})", "log return", OWN)
    for half_life in (5, 21, 63):
        rows[f"volatility_{half_life}"] = (f"σ_{half_life}", "log return per row", RISKMETRICS)
    for fast, slow in ((5, 21), (21, 63)):
        rows[f"volatility_ratio_{fast}_{slow}"] = (f"σ_{fast} / σ_{slow}", "ratio", OWN)
    rows["volatility_of_volatility_21"] = (
        "standard deviation of σ_5 around its own average, half-life 21, over E_21[σ_5]",
        "ratio",
        FINCH,
    )
    rows["shock"] = ("r(t) / σ_21(t−1)", "standard deviations", OWN)
    for horizon in (5, 21):
        rows[f"normalised_return_{horizon}"] = (
            f"(p(t) − p(t−{horizon})) / (σ_21 √{horizon})",
            "standard deviations",
            OWN,
        )
    for fast, slow in ((8, 24), (16, 48), (32, 96)):
        rows[f"momentum_{fast}_{slow}"] = (f"(A_{fast}[p] − A_{slow}[p]) / σ_21", "standard deviations per row", BAZ)
    for half_life in (21, 63):
        rows[f"zscore_{half_life}"] = (
            f"(p − m) / s, m = E_{half_life}[p], s the exponential standard deviation of p around m",
            "standard deviations",
            FINCH,
        )
    rows["relative_strength_index_14"] = ("A_14[r] / A_14[|r|], which is RSI/50 − 1", "−1 to 1", WILDER)
    for width in (10, 63):
        rows[f"efficiency_ratio_{width}"] = (
            f"|p(t) − p(t−{width})| / Σ|r| over the last {width} rows",
            "0 to 1",
            KAUFMAN,
        )
    for width in (21, 63, 252):
        rows[f"range_position_{width}"] = (
            f"(p − low) / (high − low) of the last {width} closes, this one included",
            "0 to 1",
            f"Lane's %K (1957) on closes, {width} rows",
        )
    for width in (63, 252):
        rows[f"drawdown_{width}"] = (f"p − highest of the last {width} closes", "log return, at most 0", OWN)
    rows["autocorrelation_63"] = ("E_63[r(t) r(t−1)] / σ_63²", "about −1 to 1", RISKMETRICS)
    rows["variance_ratio_5"] = ("E_63[(p(t) − p(t−5))²] / (5 σ_63²)", "ratio, 1 for a random walk", LO_MACKINLAY)
    rows["skewness_63"] = ("E_63[r³] / σ_63³", "ratio", "standardised third moment, zero mean")
    rows["kurtosis_63"] = ("E_63[r⁴] / σ_63⁴", "ratio, 3 for normal returns", "standardised fourth moment, zero mean")
    rows["downside_share_63"] = (
        "E_63[r² where r < 0] / σ_63²",
        "0 to 1",
        "Barndorff-Nielsen, Kinnebrock, Shephard, Measuring Downside Risk (2010)",
    )
    rows["bipower_share_63"] = ("(π/2) E_63[|r(t)| |r(t−1)|] / σ_63²", "ratio, below 1 with jumps", BARNDORFF)
    for horizon in (1, 5, 21):
        rows[f"base_strength_{horizon}"] = (
            f"mean over the cross-section of the {horizon}-row returns of instruments that hold the base currency, "
            "negative where it is their quote",
            "log return",
            OWN,
        )
        rows[f"quote_strength_{horizon}"] = ("the same for the quote currency", "log return", OWN)
        rows[f"strength_difference_{horizon}"] = (
            f"base_strength_{horizon} − quote_strength_{horizon}",
            "log return",
            OWN,
        )
        rows[f"currency_dispersion_{horizon}"] = (
            f"standard deviation of all currencies' {horizon}-row strengths at this step",
            "log return",
            OWN,
        )
    rows["day_of_week"] = ("weekday of the row's time in UTC, Monday is 0", "days", OWN)
    rows["days_to_month_end"] = ("calendar days left in the month, UTC", "days", OWN)
    rows["gap_hours"] = ("time since the instrument's row before", "hours", OWN)
    return rows | _bar_definitions()


def _bar_definitions() -> dict[str, tuple[str, str, str]]:
    per_row = "log return per row"
    return {
        "parkinson_21": ("sqrt(E_21[ln(H/L)² / (4 ln 2)])", per_row, PARKINSON),
        "garman_klass_21": ("sqrt(E_21[ln(H/L)² / 2 − (2 ln 2 − 1) ln(C/O)²])", per_row, GARMAN_KLASS),
        "rogers_satchell_21": ("sqrt(E_21[ln(H/C) ln(H/O) + ln(L/C) ln(L/O)])", per_row, ROGERS_SATCHELL),
        "parkinson_ratio_21": ("parkinson_21 / σ_21", "ratio, below 1 when prices trend or jump", PARKINSON),
        "average_true_range_14": (
            "A_14[TR], TR = max(ln H, p(t−1)) − min(ln L, p(t−1))",
            "log return",
            f"{WILDER}, on log prices",
        ),
        "true_range_ratio_14": ("TR(t) / A_14[TR](t−1)", "ratio", WILDER),
        "close_location": ("(p − ln L) / ln(H/L)", "0 to 1", OWN),
        "body_share": ("ln(C/O) / ln(H/L)", "−1 to 1", OWN),
        "opening_gap": ("ln O − p(t−1)", "log return", OWN),
        "spread_relative": ("(ask − bid) / mid at the close", "fraction of price", OWN),
        "spread_zscore_63": (
            "spread_relative against its exponential mean and deviation",
            "standard deviations",
            FINCH,
        ),
        "spread_volatility_ratio_21": ("spread_relative / σ_21", "ratio", OWN),
        "tick_activity_63": ("ticks / E_63[ticks](t−1)", "ratio", OWN),
        "tick_zscore_63": ("ticks against their exponential mean and deviation", "standard deviations", FINCH),
        "hour_sine": ("sin(2π · second of the UTC day / 86,400)", "−1 to 1", OWN),
        "hour_cosine": ("cos(2π · second of the UTC day / 86,400)", "−1 to 1", OWN),
        "minutes_to_weekend": (
            "minutes to the next Friday 17:00 in New York, 0 while the market is closed",
            "minutes",
            OWN,
        ),
        "session_tokyo": ("1 when the bar closes in (09:00, 18:00] Tokyo of a weekday", "0 or 1", OWN),
        "session_london": ("1 when the bar closes in (08:00, 17:00] London of a weekday", "0 or 1", OWN),
        "session_new_york": ("1 when the bar closes in (08:00, 17:00] New York of a weekday", "0 or 1", OWN),
    }


def catalogue() -> tuple[Feature, ...]:
    """Return all features in the order of a row of the set ``bars``; ``fixings`` is a prefix of it."""
    definitions = _definitions()
    return tuple(
        Feature(name, *definitions[name], warm_up=int(rows)) for name, rows in zip(COLUMNS, WARM_UP, strict=True)
    )
