"""The one way to an MLflow experiment: same tracking store, same artifact place, for training and monitoring."""

from core.settings import get_settings


def open_experiment(name: str) -> str:
    """Return the id of the experiment ``name``, creating it when it is new; sets the tracking URI of this process.

    With the local SQLite store the artifacts lie under ``<state>/mlflow/artifacts``, where the MLflow server of
    ``tidegate up`` looks for them; a remote server decides by itself.
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
    if uri.startswith("sqlite:"):
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
