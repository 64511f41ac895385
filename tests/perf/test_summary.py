"""The layer table: torchstat 0.0.7's figures to the byte, what it leaves out, and a model that stays as it was."""

import io
import json
import math

import pytest
import torch
from rich.console import Console
from torch import nn

from fasttrain.errors import ConfigError
from fasttrain.models import build_model
from fasttrain.perf.summary import summarize, summarize_model
from fasttrain.perf.summary_table import render

# printed by torchstat 0.0.7 itself: (rows, params, MAdd, FLOPs, MemR+W in bytes)
TORCHSTAT = {
    ("resnet18", "origin", 64): (52, 11279112, 297162552, 148746240, 49608512),
    ("resnet18", "maxpool", 64): (52, 11279112, 297162552, 148746240, 49608512),
    ("resnet18", "dropout", 64): (57, 12590856, 299783992, 150057984, 54878016),
    ("resnet50", "origin", 64): (126, 23917832, 671475512, 336449536, 114505536),
    ("resnet50", "maxpool", 64): (126, 23917832, 671475512, 336449536, 114505536),
    ("resnet50", "dropout", 64): (131, 44893448, 713418552, 357425152, 198498112),
    ("resnet18", "origin", 97): (52, 11279112, 883082424, 441956928, 56601932),
    ("resnet18", "dropout", 97): (57, 12590856, 885703864, 443268672, 61871436),
    ("resnet50", "maxpool", 97): (126, 23917832, 1998742328, 1001268160, 145881420),
}
MEMORY_MB = {("resnet18", "origin"): "2.10", ("resnet18", "dropout"): "2.11", ("resnet50", "origin"): "8.96"}


@pytest.mark.parametrize(("arch", "head", "size"), TORCHSTAT)
def test_totals_are_torchstats(arch, head, size):
    summary = summarize(arch, head, image_size=size)
    totals = summary.totals
    assert list(totals) == ["params", "memory_mb", "madd", "flops", "mem_rw"]
    found = (len(summary.rows), totals["params"], totals["madd"], totals["flops"], totals["mem_rw"])
    assert found == TORCHSTAT[arch, head, size]


@pytest.mark.parametrize(("arch", "head"), MEMORY_MB)
def test_memory_is_torchstats(arch, head):
    assert f"{summarize(arch, head).totals['memory_mb']:.2f}" == MEMORY_MB[arch, head]


def row_of(summary, name):
    (row,) = [row for row in summary.to_json()["rows"] if row["name"] == name]
    return row


def expected_row(name, input_shape, output_shape, params, madd, flops, read, write):
    return {
        "name": name, "input_shape": input_shape, "output_shape": output_shape, "params": params,
        "memory_mb": 4 * math.prod(output_shape) / 2**20, "madd": madd, "flops": flops,
        "mem_read": read, "mem_write": write, "mem_rw": read + write,
    }


def test_first_row_is_torchstats():
    first = summarize("resnet18", "origin").to_json()["rows"][0]
    assert first == {
        "name": "conv1", "input_shape": [3, 64, 64], "output_shape": [64, 32, 32], "params": 9408, "memory_mb": 0.25,
        "madd": 19202048, "flops": 9633792, "mem_read": 86784, "mem_write": 262144, "mem_rw": 348928,
    }


def test_one_row_of_each_type():
    origin, dropout = summarize("resnet18", "origin"), summarize("resnet18", "dropout")
    plane, pooled = [64, 32, 32], [64, 16, 16]
    n = 64 * 32 * 32
    assert row_of(origin, "bn1") == expected_row("bn1", plane, plane, 128, 4 * n, 2 * n, 4 * (n + 128), 4 * n)
    assert row_of(origin, "relu") == expected_row("relu", plane, plane, 0, n, n, 4 * n, 4 * n)
    assert row_of(origin, "maxpool") == expected_row("maxpool", plane, pooled, 0, 2 * n, n, 4 * n, n)
    assert row_of(origin, "avgpool") == expected_row("avgpool", [512, 2, 2], [512, 1, 1], 0, 0, 0, 0, 0)
    linear = expected_row("fc", [512], [200], 102600, 200 * 1023, 102400, 4 * (512 + 102600), 800)
    assert row_of(origin, "fc") == linear
    assert row_of(dropout, "classifier.0") == expected_row("classifier.0", [2048], [2048], 0, 0, 0, 0, 0)
    assert row_of(dropout, "classifier.6") == {**linear, "name": "classifier.6"}


def test_a_shared_relu_is_one_row_with_its_last_call():
    summary = summarize("resnet50", "origin")
    assert row_of(summary, "layer1.0.relu")["input_shape"] == [256, 16, 16]
    calls = [call.input_shape for call in summary.calls if call.name == "layer1.0.relu"]
    assert calls == [(64, 16, 16), (64, 16, 16), (256, 16, 16)]


def test_rows_follow_named_modules():
    with torch.device("meta"):
        net = build_model("resnet50", "dropout")
    leaves = [name for name, module in net.named_modules() if not list(module.children())]
    assert [row.name for row in summarize("resnet50", "dropout").rows] == leaves


@pytest.mark.parametrize(("arch", "adds", "elements"), [
    # each block adds once, at its own output: width * expansion * side^2, for sides 16, 8, 4, 2 at 64 pixels
    ("resnet18", 8, 2 * (64 * 256 + 128 * 64 + 256 * 16 + 512 * 4)),
    ("resnet50", 16, 4 * (3 * 64 * 256 + 4 * 128 * 64 + 6 * 256 * 16 + 3 * 512 * 4)),
])
@pytest.mark.parametrize("head", ["origin", "maxpool", "dropout"])
def test_residual_adds_and_global_pools(arch, adds, elements, head):
    summary = summarize(arch, head)
    assert summary.residual_adds == {"calls": adds, "elements": elements}
    channels = 512 if arch == "resnet18" else 2048
    pooled = {"calls": 0, "elements": 0} if head == "dropout" else {"calls": 1, "elements": channels * 4}
    assert summary.global_pools == pooled
    larger = summarize(arch, head, image_size=128)
    assert larger.global_pools == {"calls": 1, "elements": channels * 16}


@pytest.mark.parametrize(("head", "pool_madd"), [("origin", 2048), ("maxpool", 1536)])
def test_true_totals_add_what_the_rows_leave_out(head, pool_madd):
    summary = summarize("resnet18", head)
    relu = [64 * 256, 128 * 64, 256 * 16, 512 * 4]  # one per stage; each block's first call has no row
    repeated, added = 2 * sum(relu), summary.residual_adds["elements"]
    totals, true = summary.totals, summary.true_totals
    assert true["params"] == totals["params"]
    assert true["madd"] - totals["madd"] == repeated + added + pool_madd
    assert true["flops"] - totals["flops"] == repeated + added + 2048
    assert true["mem_rw"] - totals["mem_rw"] == 4 * (2 * repeated + 3 * added + 2048 + 512)
    assert true["mem_read"] + true["mem_write"] == true["mem_rw"]
    assert (true["memory_mb"] - totals["memory_mb"]) * 2**18 == repeated + added + 512


@pytest.mark.parametrize(("arch", "head"), [("resnet18", "maxpool"), ("resnet50", "dropout")])
def test_flop_counter_is_two_per_multiply_add(arch, head):
    summary = summarize(arch, head, image_size=100)
    products = [row.flops for row in summary.rows if "conv" in row.name or "downsample.0" in row.name]
    linear = [row.flops for row in summary.rows if row.params and len(row.input_shape) == 1]
    assert summary.flop_counter == 2 * sum(products + linear)


def test_json():
    summary = summarize("resnet18", "origin", num_classes=3, image_size=33)
    written = json.loads(json.dumps(summary.to_json()))
    assert written == summary.to_json()
    integers = ("params", "madd", "flops", "mem_read", "mem_write", "mem_rw")
    assert list(written["rows"][0]) == ["name", "input_shape", "output_shape", "params", "memory_mb", *integers[1:]]
    assert all(type(row[key]) is int for row in written["rows"] for key in integers)
    assert written["rows"][-1]["output_shape"] == [3]
    assert written["column_sums"]["mem_read"] == sum(row["mem_read"] for row in written["rows"])
    assert sum(written["column_sums"].values()) == written["totals"]["mem_rw"]


def test_small_stem():
    summary = summarize("resnet18", "origin", stem="small")
    assert [row.name for row in summary.rows[:4]] == ["conv1", "bn1", "relu", "layer1.0.conv1"]
    assert summary.rows[0].output_shape == (64, 64, 64)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="at least 32, got 8"):
        summarize("resnet18", "origin", image_size=8)


def devices():
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
    return ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.real_gpu, missing])]


@pytest.mark.parametrize("device", devices())
def test_the_model_stays_as_it_was(device):
    net = build_model("resnet18", "dropout", seed=0).to(device)
    net.layer2.eval()
    net(torch.randn(2, 3, 64, 64, device=device)).sum().backward()
    seen = []
    net.classifier[6].register_forward_hook(lambda *_: seen.append(1))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    grads = [parameter.grad.clone() for parameter in net.parameters()]
    modes = [module.training for module in net.modules()]
    random_state = torch.get_rng_state()

    assert summarize_model(net, 64) == summarize("resnet18", "dropout")

    assert seen == [1]
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(net.parameters(), grads, strict=True))
    assert [module.training for module in net.modules()] == modes
    assert {parameter.device.type for parameter in net.parameters()} == {device}
    assert sum(len(module._forward_hooks) for module in net.modules()) == 1
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


def test_a_failed_pass_leaves_no_hooks():
    net = build_model("resnet18", "origin", seed=0)
    net.fc = nn.Linear(7, 7)
    with pytest.raises(RuntimeError):
        summarize_model(net)
    assert not any(module._forward_hooks for module in net.modules())
    assert all(module.training for module in net.modules())


def test_half_precision_models_have_the_same_table():
    net = build_model("resnet18", "maxpool", seed=0).bfloat16()
    assert summarize_model(net) == summarize("resnet18", "maxpool")


def rendered(summary, **console):
    out = io.StringIO()
    render(summary, Console(file=out, color_system=None, **console))
    return out.getvalue()


TOTAL_LINES = ("Total params: 11,279,112 ", "Total memory: 2.10MB ", "Total MAdd: 297.16MMAdd ",
               "Total Flops: 148.75MFlops ", "Total MemR+W: 47.31MB ")


@pytest.mark.parametrize("console", [{}, *({"force_terminal": True, "width": w} for w in (80, 120, 200))])
def test_render_shows_every_row_uncut(console):
    text = rendered(summarize("resnet18", "origin"), **console)
    lines = text.splitlines()
    for name in ("conv1", "layer2.0.downsample.0", "fc"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert all(line in text for line in TOTAL_LINES)
    assert "…" not in text
    assert max(map(len, lines)) <= console.get("width", 120)
    exact = "19,202,048" in text
    assert exact == (console.get("width") != 80)


def test_render_marks_torchstats_last_row_totals():
    lines = rendered(summarize("resnet18", "origin")).splitlines()
    (stated,) = [line.split() for line in lines if line.startswith("torchstat's total")]
    assert stated[-3:] == ["412,448", "800", "49,608,512"] and "*" in stated
    (columns,) = [line.split() for line in lines if line.startswith("sum of the rows")]
    assert columns[-3:] == ["47,412,256", "2,196,256", "49,608,512"]


class Gate(nn.Module):
    """What a summary by leaf modules alone would miss: operations without a module, parameters outside of leaves."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.nn.functional.silu(self.linear(x))


class Strange(nn.Module):
    """Layers with rules and layers without."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 4, 4), nn.GELU()
        self.norm, self.gate = nn.LayerNorm(8), Gate()
        self.attention, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.act(self.conv(x)).flatten(2).transpose(1, 2))
        return self.fc(self.attention(self.gate(x), x, value=x)[0])


@pytest.fixture
def strange():
    return summarize_model(Strange(), 8)


def test_what_has_no_rule_is_named_and_has_no_numbers(strange):
    missing = strange.not_counted
    assert {"GELU", "LayerNorm", "silu in Gate"} <= set(missing)
    assert any(name.endswith(" in MultiheadAttention") for name in missing)
    assert not {"Conv2d", "Linear", "aten.add"} & set(missing)
    written = json.loads(json.dumps(strange.to_json()))
    assert written["not_counted"] == missing
    assert row_of(strange, "norm") == {
        "name": "norm", "input_shape": [4, 8], "output_shape": [4, 8], "params": 16, "memory_mb": 4 * 32 / 2**20,
        "madd": None, "flops": None, "mem_read": None, "mem_write": None, "mem_rw": None}
    conv, gate, fc = 8 * 4 * 48, 4 * 8 * 8, 4 * 8 * 5
    assert strange.totals["flops"] == conv + 8 * 4 + gate + fc  # a convolution's bias counts, a linear layer's does not
    added = [call.flops for call in strange.calls if call.name == "aten.add"]
    assert added[0] == 4 * 8 and strange.true_totals["flops"] == strange.totals["flops"] + sum(added)
    assert strange.true_totals["params"] == sum(p.numel() for p in Strange().parameters()) > strange.totals["params"]


@pytest.mark.parametrize("console", [{}, {"force_terminal": True, "width": 80}])
def test_the_table_says_what_is_not_counted(strange, console):
    lines = rendered(strange, **console).splitlines()
    said = [line.split()[0] for line in lines if "not counted" in line]
    assert said == ["act", "norm"]
    (line,) = [line for line in lines if line.startswith("Not counted")]
    assert all(name in line for name in ("GELU", "LayerNorm", "silu in Gate"))


@pytest.mark.parametrize("head", ["origin", "maxpool", "dropout"])
@pytest.mark.parametrize("size", [32, 64, 97])
def test_everything_in_the_six_variants_is_counted(head, size):
    for arch in ("resnet18", "resnet50"):
        assert summarize(arch, head, image_size=size).not_counted == []
