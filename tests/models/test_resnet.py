"""The networks: torchvision's state dict and arithmetic, initialisation that depends on the seed alone, sizes."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from fasttrain.errors import ConfigError
from fasttrain.models import build_model

ARCHS = ("resnet18", "resnet50")
HEADS = ("origin", "maxpool", "dropout")
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def batch_norm(weights, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(weights[f"{name}.{key}"] for key in keys), training=False)


def convolve(weights, name, x, stride=1):
    kernel = weights[f"{name}.weight"]
    return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)


def block_forward(weights, name, x, stride):
    """The residual block `name`: its depth is read off the weights; the first 3x3 convolution has the stride."""
    convolutions = [i for i in (1, 2, 3) if f"{name}.conv{i}.weight" in weights]
    strided = next(i for i in convolutions if weights[f"{name}.conv{i}.weight"].shape[-1] == 3)
    out = x
    for i in convolutions:
        out = convolve(weights, f"{name}.conv{i}", out, stride if i == strided else 1)
        out = batch_norm(weights, f"{name}.bn{i}", out)
        out = F.relu(out) if i != convolutions[-1] else out
    if f"{name}.downsample.0.weight" in weights:
        x = batch_norm(weights, f"{name}.downsample.1", convolve(weights, f"{name}.downsample.0", x, stride))
    return F.relu(out + x)


def torchvision_logits(weights, x):
    """torchvision's ResNet in eval mode, written from the paper and its state dict alone."""
    x = F.relu(batch_norm(weights, "bn1", convolve(weights, "conv1", x, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        blocks = sorted({int(key.split(".")[1]) for key in weights if key.startswith(f"layer{stage}.")})
        for i in blocks:
            x = block_forward(weights, f"layer{stage}.{i}", x, 2 if stage > 1 and i == 0 else 1)
    return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), weights["fc.weight"], weights["fc.bias"])


def torchvision_shapes(arch, num_classes):
    """[(key, shape)] of torchvision's state dict, in its order."""
    shapes = []

    def add(prefix, number, channels, width, kernel):
        named = (f"{prefix}conv{number}", f"{prefix}bn{number}")
        conv, bn = named if number else (f"{prefix}.0", f"{prefix}.1")
        shapes.append((f"{conv}.weight", (width, channels, kernel, kernel)))
        shapes.extend((f"{bn}.{key}", (width,)) for key in ("weight", "bias", "running_mean", "running_var"))
        shapes.append((f"{bn}.num_batches_tracked", ()))

    add("", 1, 3, 64, 7)
    channels, kernels = 64, {"resnet18": (3, 3), "resnet50": (1, 3, 1)}[arch]
    for stage, depth in enumerate(DEPTHS[arch]):
        width = 64 * 2**stage
        out = width * (4 if arch == "resnet50" else 1)
        for i in range(depth):
            name, before = f"layer{stage + 1}.{i}.", channels
            for number, kernel in enumerate(kernels, 1):
                after = out if number == len(kernels) else width
                add(name, number, before, after, kernel)
                before = after
            if channels != out:
                add(f"{name}downsample", None, channels, out, 1)
            channels = out
    return [*shapes, ("fc.weight", (num_classes, channels)), ("fc.bias", (num_classes,))]


@pytest.mark.parametrize(("arch", "entries"), [("resnet18", 122), ("resnet50", 320)])
@pytest.mark.parametrize("head", ["origin", "maxpool"])
def test_state_dict_is_torchvisions(arch, entries, head):
    with torch.device("meta"):
        state = build_model(arch, head, num_classes=1000).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == torchvision_shapes(arch, 1000)
    assert len(state) == entries


@pytest.mark.parametrize(("arch", "width"), [("resnet18", 512), ("resnet50", 2048)])
def test_state_dict_of_the_dropout_head(arch, width):
    with torch.device("meta"):
        state = build_model(arch, "dropout").state_dict()
    ours = {key: tuple(value.shape) for key, value in state.items() if key.startswith("classifier")}
    assert ours == {
        "classifier.1.weight": (width, 4 * width), "classifier.1.bias": (width,),
        "classifier.4.weight": (width, width), "classifier.4.bias": (width,),
        "classifier.6.weight": (200, width), "classifier.6.bias": (200,),
    }
    assert [key for key in state if key not in ours] == [key for key, _ in torchvision_shapes(arch, 200)[:-2]]


def trained_weights(arch):
    """Weights as a checkpoint has them: every entry random, batch norms not 1 and 0."""
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for key, shape in torchvision_shapes(arch, 200):
        value = torch.rand(shape, generator=generator) + 0.5
        if len(shape) > 1:
            value = torch.randn(shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        weights[key] = value.long() if key.endswith("num_batches_tracked") else value
    return weights


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_equal_torchvisions_bit_for_bit(arch):
    weights = trained_weights(arch)
    net = build_model(arch, "origin").eval()
    net.load_state_dict(weights)
    for size in (64, 47):
        images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            logits = net(images)
            assert logits.isfinite().all() and logits.std() > 0
            assert torch.equal(logits, torchvision_logits(weights, images))


def expected_parameters(arch, head, num_classes):
    e = 1 if arch == "resnet18" else 4
    total = 3 * 64 * 49 + 2 * 64
    for stage, depth in enumerate(DEPTHS[arch]):
        w = 64 * 2**stage
        c = 64 if stage == 0 else w * e // 2
        first = 9 * c * w + 9 * w * w + 4 * w if e == 1 else c * w + 9 * w * w + 4 * w * w + 12 * w
        rest = 18 * w * w + 4 * w if e == 1 else 17 * w * w + 12 * w
        projection = 0 if c == w * e else c * w * e + 2 * w * e
        total += first + projection + (depth - 1) * rest
    if head == "dropout":
        total += 4 * (512 * e) ** 2 + (512 * e) ** 2 + 2 * 512 * e
    return total + 512 * e * num_classes + num_classes


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("head", HEADS)
def test_parameter_counts(arch, head):
    for num_classes in (200, 1):
        with torch.device("meta"):
            net = build_model(arch, head, num_classes)
        assert sum(p.numel() for p in net.parameters()) == expected_parameters(arch, head, num_classes)


def test_initialisation_is_torchvisions():
    net = build_model("resnet18", "origin", seed=11)
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all(), name
        if isinstance(module, torch.nn.Conv2d):
            weight = module.weight.detach()
            std = (2 / (weight.shape[0] * weight[0, 0].numel())) ** 0.5
            n = weight.numel()
            assert abs(weight.mean()) < 5 * std / n**0.5, name
            assert abs(weight.std() / std - 1) < 5 / (2 * n) ** 0.5, name
            assert weight.abs().max() > 3 * std, name  # a normal distribution, not a uniform one
    bound = 512**-0.5
    assert net.fc.weight.abs().max() <= bound and abs(net.fc.weight.std() / (bound / 3**0.5) - 1) < 0.02


def weights_equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def backbone(net):
    return {key: value for key, value in net.state_dict().items() if not key.startswith(("fc", "classifier"))}


@pytest.mark.parametrize("head", HEADS)
def test_seed_decides_the_weights(head):
    torch.manual_seed(1)
    first = build_model("resnet18", head, seed=5).state_dict()
    torch.manual_seed(2)
    assert weights_equal(first, build_model("resnet18", head, seed=5).state_dict())
    assert not torch.equal(first["conv1.weight"], build_model("resnet18", head, seed=6).conv1.weight)


def test_seed_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    build_model("resnet18", "dropout", seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_weights_come_from_the_global_state():
    torch.manual_seed(1)
    first = build_model("resnet18", "origin")
    assert not torch.equal(first.conv1.weight, build_model("resnet18", "origin").conv1.weight)
    torch.manual_seed(1)
    assert weights_equal(first.state_dict(), build_model("resnet18", "origin").state_dict())


@pytest.mark.parametrize("arch", ARCHS)
def test_heads_and_classes_share_the_backbone_of_a_seed(arch):
    origin = backbone(build_model(arch, "origin", 200, seed=5))
    for head, num_classes in (("maxpool", 10), ("dropout", 3)):
        assert weights_equal(origin, backbone(build_model(arch, head, num_classes, seed=5)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stem", ["standard", "small"])
def test_any_size_and_class_count(head, stem):
    net = build_model("resnet18", head, num_classes=7, stem=stem, seed=0).eval()
    with torch.no_grad():
        for size in (32, 33, 65):
            assert net(torch.randn(1, 3, size, size)).shape == (1, 7)


def test_small_stem_keeps_the_resolution():
    net = build_model("resnet18", "origin", stem="small", seed=0)
    assert net.conv1.weight.shape == (64, 3, 3, 3)
    assert "maxpool" not in dict(net.named_modules())
    assert net.features(torch.zeros(2, 3, 64, 64)).shape == (2, 512, 8, 8)
    assert len(net.state_dict()) == 122


@pytest.mark.parametrize("head", ["maxpool", "dropout"])
def test_channels_last_trains_the_same(head):
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = build_model("resnet18", head, 5, seed=0).double().to(memory_format=layout).eval()
        net(images.double().to(memory_format=layout)).square().sum().backward()
        grads.append(net.conv1.weight.grad)
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(*grads)


def test_networks_can_be_pickled():
    net = build_model("resnet18", "dropout", 5, seed=0).eval()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(pickle.loads(pickle.dumps(net))(images), net(images))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"arch": "resnet81"}, "unknown arch 'resnet81': did you mean 'resnet18'?"),
    ({"head": "max"}, "unknown head 'max': did you mean 'maxpool'?"),
    ({"stem": "smal"}, "unknown stem 'smal': did you mean 'small'?"),
    ({"num_classes": 0}, "number of classes must be a whole number of at least 1, got 0"),
    ({"num_classes": True}, "number of classes must be a whole number of at least 1, got True"),
    ({"num_classes": 2.5}, "number of classes must be a whole number of at least 1, got 2.5"),
    ({"image_size": 31}, "image size must be a whole number of at least 32, got 31"),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        build_model(**{"arch": "resnet18", "head": "origin", **arguments})
    assert str(error.value) == message
