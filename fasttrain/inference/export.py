"""`fasttrain export`: writes a checkpoint's network for other programs, after reading the file back and comparing.

`safetensors`: the weights under torchvision's names (the head `dropout` has its own), with metadata that says how to
use them. `torch-export`: a program from uint8 pixels [B, S, S, 3], RGB, for any B, to fp32 logits [B, K], normalisation
included; `torch.export.load(FILE).module()(pixels)` needs torch but not fasttrain. `onnx`: the same program for ONNX
runtimes; its input is called `images`, its output `logits`.
"""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fasttrain import runtime as runtimes
from fasttrain.checks import choice
from fasttrain.data.sources.drawing import draw, look_of
from fasttrain.environment import optional
from fasttrain.errors import DataError
from fasttrain.inference import FORMATS
from fasttrain.models import build_model
from fasttrain.storage import write_atomically
from fasttrain.train.trained import Classifier, Trained, load_trained

TOLERANCE = 1e-4  # of the largest logit: between two ways of computing the same in fp32
CPU = runtimes.Runtime(torch.device("cpu"), "fp32", "off", channels_last=False)
METADATA = "fasttrain.json"  # the name of the extra file inside a torch.export archive


def export(checkpoint: str | Path, out: str | Path, to: str = "safetensors") -> dict[str, Any]:
    """Writes the network of a checkpoint (a file, or a run folder for its best one) to the file `out`.

    Returns {"file", "bytes", "max_difference", "largest_logit"} of the comparison with the checkpoint's network on
    drawn images. Raises ConfigError for an unknown format or a missing library. Raises DataError, and writes nothing,
    for a bad checkpoint, a file that cannot be written, or an export that computes something else.
    """
    encode, decode = CODECS[choice(FORMATS)("to", to)]
    trained = load_trained(checkpoint)
    classifier = trained.classifier(CPU)
    data = encode(trained, classifier)
    images = example_images(trained.config.image_size)
    with torch.inference_mode():
        expected = classifier(images)
        difference = (decode(data)(images) - expected).abs().max().item()
    largest = expected.abs().max().item()
    if not difference <= TOLERANCE * largest:
        raise DataError(f"{out}: not written: the exported network's logits differ by {difference:g} from the "
                        f"checkpoint's, whose largest is {largest:g}")
    write_atomically(out, data)
    return {"file": str(out), "bytes": len(data), "max_difference": difference, "largest_logit": largest}


def usage(trained: Trained) -> dict[str, Any]:
    """Returns what a program must know to use the weights, as plain values."""
    config = trained.config
    return {"arch": config.arch, "head": config.head, "stem": config.stem, "image_size": config.image_size,
            "classes": trained.classes, "class_names": trained.class_names, "mean": trained.mean, "std": trained.std,
            "input": "(pixels / 255 - mean) / std, RGB, NCHW", "ema": config.ema, "epoch": trained.epoch,
            "metrics": trained.row}


def example_images(size: int, count: int = 8) -> torch.Tensor:
    """Returns drawn pictures of several classes, uint8 [count, size, size, 3]."""
    return torch.cat([torch.from_numpy(draw(0, label, look_of(0, label), [label], size)[0]) for label in range(count)])


def to_safetensors(trained: Trained, classifier: Classifier) -> bytes:
    """Returns the weights as a .safetensors file; its metadata is that of `usage`, as JSON except for text."""
    weights = {name: tensor.contiguous() for name, tensor in trained.weights.items()}
    facts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in usage(trained).items()}
    return optional("safetensors.torch", "--to safetensors").save(weights, {"format": "pt", **facts})


def from_safetensors(data: bytes) -> Classifier:
    """Returns the Classifier in such a file."""
    header = int.from_bytes(data[:8], "little")
    facts = json.loads(data[8:8 + header])["__metadata__"]
    classes, size, mean, std = (json.loads(facts[key]) for key in ("classes", "image_size", "mean", "std"))
    model = build_model(facts["arch"], facts["head"], len(classes), size, facts["stem"], seed=0).eval()
    model.load_state_dict(optional("safetensors.torch", "--to safetensors").load(data))
    return Classifier(model, mean, std, CPU)


def to_torch_export(trained: Trained, classifier: Classifier) -> bytes:
    """Returns the network with its normalisation as a .pt2 archive, for any number of images."""
    images = example_images(trained.config.image_size, 2)
    program = torch.export.export(classifier, (images,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(usage(trained))})
    return buffer.getvalue()


def from_torch_export(data: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the program in such an archive, as a function of pixels."""
    return torch.export.load(io.BytesIO(data)).module()


def to_onnx(trained: Trained, classifier: Classifier) -> bytes:
    """Returns the network with its normalisation as an ONNX model, for any number of images.

    Raises DataError for a network that ONNX cannot express.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        optional(module, "--to onnx")
    images = example_images(trained.config.image_size, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's, about what it means to change in later versions
            program = torch.onnx.export(classifier, (images,), input_names=["images"], output_names=["logits"],
                                        dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, dynamo=True,
                                        verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise DataError(f"{trained.path}: ONNX cannot express this network: {str(error).splitlines()[0]}") from None
    model = program.model_proto
    for key, value in usage(trained).items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return model.SerializeToString()


def from_onnx(data: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the program in an ONNX model, run by onnxruntime, as a function of pixels."""
    session = optional("onnxruntime", "--to onnx").InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


CODECS = {"safetensors": (to_safetensors, from_safetensors), "torch-export": (to_torch_export, from_torch_export),
          "onnx": (to_onnx, from_onnx)}
