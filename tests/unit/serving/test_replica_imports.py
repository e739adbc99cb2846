"""What a replica and the trader's predictors import: neither MLflow nor a database, so that both may be away."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ABSENT = ("mlflow", "sqlalchemy", "alembic", "psycopg", "sqlite3", "redis", "torch", "xgboost", "sklearn", "onnx")
PROGRAM = """
import sys
import serving.application, serving.client, serving.fallback, serving.local, serving.server, serving.session
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_replica_needs_neither_registry_nor_database_nor_training() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    imported = ended.stdout.strip().split(",")
    assert {"serving", "onnxruntime", "numpy"} <= set(imported)
    assert [name for name in ABSENT if name in imported] == []
