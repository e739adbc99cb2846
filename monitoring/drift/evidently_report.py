"""The Evidently rendering of a drift assessment: HTML for people, JSON for machines, with our thresholds."""

from pathlib import Path

import numpy as np
import orjson
import pandas as pd

from core.files import replacing, write_bytes
from monitoring.drift.assess import DriftAssessment

_MAXIMUM_REFERENCE_ROWS = 20_000  # Evidently needs 0.2 s a column; the verdict itself uses all rows


def write_report(
    reference: pd.DataFrame, live: pd.DataFrame, assessment: DriftAssessment, directory: Path
) -> tuple[Path, Path]:
    """Write ``drift.html`` and ``drift.json`` and return their paths.

    Evidently's own rules (asymptotic tests, half of the columns) are replaced by the calibrated thresholds of the
    assessment, so that the page and the alarm never disagree. A long reference is thinned evenly for the page.
    """
    import warnings

    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    columns = [feature.feature for feature in assessment.features]
    stride = max(1, -(-len(reference) // _MAXIMUM_REFERENCE_ROWS))
    # A column that is empty on one side breaks Evidently's histograms; the assessment has judged it already.
    shown = [c for c in columns if np.isfinite(reference[c].to_numpy()).any() and np.isfinite(live[c].to_numpy()).any()]
    definition = DataDefinition(numerical_columns=shown)
    thresholds = {f.feature: f.threshold for f in assessment.features if f.feature in shown}
    report = Report(
        [
            DataDriftPreset(
                columns=shown,
                drift_share=assessment.share_threshold,
                num_method="psi",
                per_column_threshold=thresholds,
            ),
            DataSummaryPreset(columns=shown[:12]),
        ],
        include_tests=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = report.run(
            Dataset.from_pandas(_rows(live, shown, 1), data_definition=definition),
            Dataset.from_pandas(_rows(reference, shown, stride), data_definition=definition),
        )
    html, document = directory / "drift.html", directory / "drift.json"
    with replacing(html) as temporary:
        snapshot.save_html(str(temporary))
    write_bytes(document, orjson.dumps(orjson.loads(snapshot.json()), option=orjson.OPT_INDENT_2))
    return html, document


def _rows(frame: pd.DataFrame, columns: list[str], stride: int) -> pd.DataFrame:
    return pd.DataFrame(frame[columns].to_numpy()[::stride], columns=pd.Index(columns))
