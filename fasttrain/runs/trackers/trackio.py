"""Trackio: a local database, TRACKIO_DIR says where; `trackio show` opens it."""

from fasttrain.environment import optional
from fasttrain.runs.trackers import PROJECT, Tracker


class TrackioTracker(Tracker):
    name = "trackio"

    def open(self, start, known):
        self.trackio = optional("trackio", "tracker trackio")
        name = known or f"{start.config.variant}-{start.folder.name}-{start.environment.get('commit') or 'x'}"
        settings = {key: value for key, value in start.config.flat().items() if value is not None}
        self.run = self.trackio.init(project=PROJECT, name=name, resume="allow", embed=False, config=settings)
        return self.run.name

    def log(self, values, epoch):
        self.run.log(values, step=epoch)

    def image(self, path):
        self.run.log({f"pictures/{path.stem}": self.trackio.Image(str(path))})

    def end(self, status):
        self.run.log({"status": status})
        self.run.finish()
