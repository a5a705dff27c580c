"""A run of MLflow's beside the CSV files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import mlflow
from torchrl.record.loggers.mlflow import MLFlowLogger

FILE = "mlflow.db"
_SERVER = "MLFLOW_TRACKING_URI"
_FORBIDDEN = re.compile(r"[^\w\-. :/]")  # in names of metrics


class MLflow(MLFlowLogger):
    """Logs to the server that the environment names, or to a file of the run.

    Args:
        path: run directory.
    """

    def __init__(self, path: Path) -> None:
        server = os.environ.get(_SERVER)
        uri = server or f"sqlite:///{path.resolve() / FILE}"
        super().__init__(exp_name="cotasp", tracking_uri=uri)
        if not server:  # MLflow has set it, and the process's next run would take it for the user's
            os.environ.pop(_SERVER, None)
        mlflow.set_tag("mlflow.runName", path.name)

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """Logs a number under a name that MLflow takes."""
        super().log_scalar(_FORBIDDEN.sub("_", name), value, step)

    def close(self, timeout: float | None = None) -> None:
        """Ends the run: TorchRL leaves it active, and the next one could not begin."""
        super().close(timeout)
        mlflow.end_run()
