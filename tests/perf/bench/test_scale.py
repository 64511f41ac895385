"""`bench scale`: what its rows say, from made-up times and from two real processes."""

import io

import pytest
from rich.console import Console

from fasttrain.cli.main import main
from fasttrain.config import RunConfig
from fasttrain.perf.bench import scale_chart
from fasttrain.perf.bench.scale import FIXED, GROWING, make_row, measure
from fasttrain.perf.profile import IN_SLICES
from tests.ranks import run_ranks
from tests.train.test_slices import profiled


def sample(step_ms, device, communication_ms=0.0):
    return {"step_ms": step_ms, "split_step_ms": 2 * step_ms, "communication_ms": communication_ms, "device": device,
            "threads": 1, "precision": "fp32", "bucket_bytes": 8, "exchange_ms": 1.0, "latency_ms": 0.1}


@pytest.mark.parametrize("device, fixed, growing", [("cpu", [2.0, 1.0], [1.6, 2.0]), ("cuda", [1.0, 0.5], [0.8, 1.0])])
def test_efficiency_is_by_the_same_hardware_in_the_same_round(device, fixed, growing):
    """One process takes 10 and 20 ms a step; two take 5 and 20 for the same batch, 12.5 and 20 for twice as much."""
    samples = {(kind, 1): [sample(10, device), sample(20, device)] for kind in (FIXED, GROWING)}
    samples |= {(FIXED, 2): [sample(5, device, 5), sample(20, device, 20)],
                (GROWING, 2): [sample(12.5, device), sample(20, device)]}
    for kind, batch, expected in ((FIXED, 64, fixed), (GROWING, 128, growing)):
        row = make_row(kind, 2, batch, samples)
        assert (row["efficiency"]["min"], row["efficiency"]["max"]) == pytest.approx(sorted(expected))
    assert make_row(FIXED, 2, 64, samples)["communication_share"]["median"] == pytest.approx(0.5)
    assert make_row(FIXED, 2, 64, samples)["images_per_second"]["max"] == pytest.approx(64 / 0.005)


def test_two_processes_are_measured_and_drawn(tmp_path):
    config = RunConfig(batch_size=8, lr=0.1, loader="constant", image_size=32, device="cpu", precision="fp32")
    two = measure(config, 2, steps=1)
    assert two["bucket_bytes"] > 4 * 11_000_000 and two["exchange_ms"] > 0 and two["threads"] >= 1
    assert 0 < two["communication_ms"] < two["split_step_ms"]
    samples = {(kind, count): [two] for kind in (FIXED, GROWING) for count in (1, 2)}
    result = {"rows": [make_row(kind, count, 8, samples) for kind, count in samples], "environment": {"cpu": "a CPU"}}
    scale_chart.draw(result, str(tmp_path / "scale.png"))
    assert (tmp_path / "scale.png").read_bytes()[:4] == b"\x89PNG"
    Console(file=(out := io.StringIO()), width=120).print(scale_chart.render(result))
    assert "efficiency" in out.getvalue() and "a sum of 42." in out.getvalue()


def test_a_profile_of_two_processes_has_their_communication():
    for phases in run_ranks(2, profiled, {}):
        assert phases["communication"] > 0 and list(phases) == list(IN_SLICES)


def test_numbers_of_processes_that_cannot_be(capsys):
    assert main(["bench", "scale", "--nproc", "1,9", "--batch-size", "8"]) == 2
    assert "batch size 8: is too small for 9 processes" in capsys.readouterr().err
