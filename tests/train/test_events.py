import pytest

from fasttrain.train.events import EventLog, Sink


class Recorder(Sink):
    def __init__(self):
        self.seen = []

    def message(self, text, level="info"):
        self.seen.append((level, text))

    def epoch(self, row):
        self.seen.append(("epoch", row))

    def close(self):
        self.seen.append(("closed", None))


class Broken(Recorder):
    def epoch(self, row):
        raise ValueError("no more ink")


def test_a_broken_sink_is_dropped_with_a_warning_and_the_others_go_on():
    broken, good = Broken(), Recorder()
    log = EventLog([broken, good])
    log.epoch({"epoch": 1})
    log.epoch({"epoch": 2})
    assert broken.seen == [("closed", None)]
    assert [kind for kind, _ in good.seen] == ["warning", "epoch", "epoch"]
    assert "Broken is off" in good.seen[0][1] and "no more ink" in good.seen[0][1]


def test_an_essential_sink_ends_the_run():
    class Essential(Broken):
        essential = True

    with pytest.raises(ValueError, match="no more ink"):
        EventLog([Essential()]).epoch({"epoch": 1})


def test_a_picture_reaches_every_sink_after_the_event_that_it_was_drawn_in():
    class Painter(Recorder):
        def epoch(self, row):
            self.announce("a.png")
            super().epoch(row)

        def picture(self, path):
            self.seen.append(("picture", path))

    first, last = Painter(), Painter()
    EventLog([first, last]).epoch(1)
    assert first.seen == last.seen == [("epoch", 1), ("picture", "a.png"), ("picture", "a.png")]


def test_every_sink_is_closed_even_after_one_that_fails_to():
    class Stuck(Recorder):
        def close(self):
            raise OSError("disk full")

    last = Recorder()
    EventLog([Stuck(), last]).close()
    assert last.seen[-1] == ("closed", None)
