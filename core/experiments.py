"""The one way to an MLflow experiment: same tracking store, same artifact place, for training and monitoring."""

from urllib.parse import urlsplit

from core.settings import get_settings


def open_experiment(name: str) -> str:
    """Return the id of the experiment ``name``, creating it when it is new; sets the tracking URI of this process.

    The artifacts of this machine's own store lie under ``<state>/mlflow/artifacts``, whether it is reached through its
    SQLite file or through the server of ``tidegate up``: both then find what the other wrote. A remote server decides
    by itself.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    settings = get_settings()
    uri = settings.mlflow_tracking_uri
    mlflow.set_tracking_uri(uri)
    existing = mlflow.get_experiment_by_name(name)
    if existing is not None:
        return str(existing.experiment_id)
    location = None
    own_server = urlsplit(uri).hostname in ("127.0.0.1", "localhost") and (settings.state / "mlflow").is_dir()
    if uri.startswith("sqlite:") or own_server:
        folder = settings.state / "mlflow" / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        location = f"{folder.as_uri()}/{name}"
    try:
        return str(mlflow.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Another process created it between the look and the creation.
        created = mlflow.get_experiment_by_name(name)
        if created is None:
            raise
        return str(created.experiment_id)
