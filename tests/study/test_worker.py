"""The process of a run of a study."""

import threading

import pytest

from fasttrain import RunConfig
from fasttrain.runs.folder import RunFolder, Taken
from fasttrain.study.worker import when_free


def test_a_run_waits_until_the_killed_one_has_left_its_folder(tmp_path):
    config = RunConfig(out=str(tmp_path))
    killed, restarted = RunFolder(tmp_path, resumed=False), RunFolder(tmp_path, resumed=False)
    killed.claim(config)
    with pytest.raises(Taken):
        when_free(lambda: restarted.claim(config), patience=0)
    leaving = threading.Timer(0.7, killed.lock.release)
    leaving.start()
    when_free(lambda: restarted.claim(config))
    assert killed.lock.handle is None and restarted.lock.handle is not None
    restarted.release()
