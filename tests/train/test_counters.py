"""BatchNorm's counters: off the step, and in its state as torch would have counted."""

import torch
from torch import nn

from fasttrain.train.counters import drop_counters, load_with_counters, with_counters


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))


def test_a_state_is_what_torch_itself_would_hold():
    counting, dropped, x = network(), network(), torch.randn(2, 3, 8, 8)
    drop_counters(dropped)
    for _ in range(3):
        counting(x), dropped(x)
    found, expected = with_counters(dropped.state_dict(), 3), counting.state_dict()
    assert list(found) == list(expected) and found._metadata == expected._metadata
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    network().load_state_dict(found)


def test_a_full_state_loads_and_tells_its_count():
    counting, dropped = network(), network()
    drop_counters(dropped)
    for _ in range(2):
        counting(torch.randn(2, 3, 8, 8))
    assert load_with_counters(dropped, counting.state_dict()) == 2
    assert torch.equal(dropped[1].running_var, counting[1].running_var)


def test_a_counter_that_the_average_needs_stays():
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=None))
    drop_counters(model)
    model(torch.randn(4, 2))
    assert with_counters(model.state_dict(), 9)["0.num_batches_tracked"] == 1
