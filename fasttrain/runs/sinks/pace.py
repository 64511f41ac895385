"""How fast a run goes and how long the rest takes, from measured times."""

import time

# A forecast waits until so many steps are done.
FIRST_STEPS = 10


class Pace:
    """Follows Progress events and forecasts, in seconds of wall time.

    sizes: the image size of each epoch; a step is taken to cost in proportion to the pixels. Empty where all are equal.
    """

    def __init__(self, val_images, sizes=()):
        self.val_images, self.sizes = val_images, sizes
        self.first = self.last = None
        self.train_steps = 0
        self.step_seconds = self.image_seconds = None
        self.epoch_started = self.epoch_seconds = None

    def update(self, progress):
        """Takes in a Progress. What the first step of a phase took, with warming up in it, does not count as speed."""
        if self.epoch_started is None:
            self.epoch_started = time.perf_counter() - progress.seconds
        if self.last is None or (progress.phase, progress.epoch) != (self.last.phase, self.last.epoch):
            if self.last and self.step_seconds:
                self._change_size(self._work(progress.epoch) / self._work(self.last.epoch))
            self.first = progress
        self.last = progress
        steps = progress.step - self.first.step
        if progress.phase == "train" and steps >= FIRST_STEPS - 1:
            self.train_steps = progress.steps
            self.step_seconds = (progress.seconds - self.first.seconds) / steps
            self.image_seconds = self.step_seconds * steps / (progress.images - self.first.images)

    def end_epoch(self):
        """Takes in that an epoch is over. From the second on its time runs from the end of the one before."""
        now = time.perf_counter()
        if self.epoch_started is not None:
            self.epoch_seconds = now - self.epoch_started
        self.epoch_started = now

    def known(self):
        """Whether there is a forecast."""
        return self.last is not None and (self.step_seconds is not None or self.epoch_seconds is not None)

    def images_per_second(self):
        """Images per second of this phase, 0 before its second Progress."""
        seconds = self.last.seconds - self.first.seconds
        return (self.last.images - self.first.images) / seconds if seconds > 0 else 0.0

    def data_wait(self):
        """The share of this phase that was spent waiting for data."""
        return self.last.data_wait_seconds / self.last.seconds if self.last.seconds > 0 else 0.0

    def epoch_total(self):
        """A whole epoch: the latest if there was one, else its steps and a guess at the rest."""
        return self.epoch_seconds or self.train_steps * self.step_seconds + self._validation()

    def epoch_left(self):
        """What is left of this epoch."""
        share_left = 1 - self.last.step / self.last.steps
        if self.last.phase == "val":
            return share_left * self.last.steps * self.last.seconds / max(1, self.last.step)
        if self.step_seconds is None:
            return share_left * self.epoch_seconds
        return share_left * self.last.steps * self.step_seconds + self._validation()

    def run_left(self):
        """What is left of the run."""
        later = range(self.last.epoch + 1, self.last.epochs + 1)
        work = sum(self._work(epoch) for epoch in later) / self._work(self.last.epoch)
        training = self.train_steps * self.step_seconds if self.step_seconds else self.epoch_total()
        return self.epoch_left() + len(later) * (self.epoch_total() - training) + work * training

    def _work(self, epoch):
        """What a training step of an epoch (from 1) costs, up to a factor."""
        return self.sizes[epoch - 1] ** 2 if self.sizes else 1

    def _change_size(self, ratio):
        """Corrects what is known of steps that now cost `ratio` times as much."""
        if self.epoch_seconds is not None:
            self.epoch_seconds += (ratio - 1) * self.train_steps * self.step_seconds
        self.step_seconds *= ratio

    def _validation(self):
        if self.epoch_seconds is not None:
            return max(0.0, self.epoch_seconds - self.train_steps * self.step_seconds)
        return self.val_images * self.image_seconds / 3  # a forward pass is a third of the work of a training step
