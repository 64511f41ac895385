"""MLflow: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where, as always; by default a folder beside the runs."""

import os
import time

from fasttrain.environment import optional
from fasttrain.runs.trackers import PROJECT, Tracker
from fasttrain.train.status import DIVERGED, DONE, INTERRUPTED

STATUS = {DONE: "FINISHED", INTERRUPTED: "KILLED", DIVERGED: "FAILED"}


class MlflowTracker(Tracker):
    name = "mlflow"

    def open(self, start, known):
        # The run does not wait for a server that is away: what fails is sent again after the next epoch.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        self.client = optional("mlflow", "tracker mlflow").MlflowClient()
        if known:
            self.id = known
            self.client.update_run(known, status="RUNNING")
            return known
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self.client.create_experiment(experiment)
        self.id = self.client.create_run(place, run_name=f"{start.config.variant} {start.folder.name}").info.run_id
        for key, value in start.config.flat().items():
            self.client.log_param(self.id, key, value)
        return self.id

    def log(self, values, epoch):
        from mlflow.entities import Metric

        now = int(1000 * time.time())  # in one request: a row arrives whole or not at all
        self.client.log_batch(self.id, [Metric(key, value, now, epoch) for key, value in values.items()])

    def image(self, path):
        self.client.log_artifact(self.id, str(path))

    def end(self, status):
        self.client.set_tag(self.id, "status", status)
        self.client.set_terminated(self.id, STATUS.get(status, "FAILED"))
