"""What this machine and this installation offer: facts only, and the line that installs what is missing."""

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import fasttrain
from fasttrain.format import size

IMPORT_SECONDS = 120
PIP = f"{shlex.quote(sys.executable)} -m pip install"


class Part(NamedTuple):
    """A package that fasttrain uses: its module, its distributions (any of them will do), how to install it."""

    module: str
    distributions: tuple
    install: str


def core(module, distribution=None):
    name = distribution or module
    return Part(module, (name,), f"{PIP} {name}")


PARTS = {
    "torch": core("torch"),
    "numpy": core("numpy"),
    "numba": core("numba"),
    "simplejpeg": core("simplejpeg"),
    "pillow": core("PIL", "pillow"),
    "pyyaml": core("yaml", "pyyaml"),
    "rich": core("rich"),
    "tensorboard": core("tensorboard"),
    "matplotlib": core("matplotlib"),
    "jinja2": core("jinja2"),
    "shtab": core("shtab"),
    "triton": Part("triton", ("triton",), "compiles for GPUs, comes with torch's builds for them"),
    "dali": Part("nvidia.dali", ("nvidia-dali-cuda120", "nvidia-dali-cuda130"),
                 f"{PIP} nvidia-dali-cuda120   (with CUDA 13: nvidia-dali-cuda130)"),
    "ffcv": Part("ffcv", ("ffcv",), "scripts/install_ffcv"),
}


def versions():
    """The facts that a run stores in `env.json`, in milliseconds: nothing is imported to find a version."""
    return {
        "fasttrain": fasttrain.__version__, "commit": commit(), "python": platform.python_version(),
        "platform": platform.platform(), **cpu(), **gently(torch_facts, {}),
        "packages": {name: version(part) for name, part in PARTS.items()},
    }


def report():
    """All facts, as a dict that JSON can hold. Imports every part once, each in a process of its own."""
    with ThreadPoolExecutor(4) as pool:
        states = dict(zip(PARTS, pool.map(probe, PARTS.values()), strict=True))
    states["c++ compiler"] = cpp_compiler()
    compiles = {"cpu": states["c++ compiler"]["state"] == "ok", "gpu": states["triton"]["state"] == "ok"}
    return {**versions(), "compile": compiles, "parts": states}


def gently(function, otherwise):
    """What `function` returns, or `otherwise` where it raises anything: a broken part must not end a report."""
    try:
        return function()
    except Exception:
        return otherwise


def version(part):
    """The installed version of a part, None where it is missing."""
    for distribution in part.distributions:
        found = gently(lambda name=distribution: importlib.metadata.version(name), None)
        if found:
            return found
    return None


def probe(part):
    """What became of importing a part: its "version", its "state" (ok, missing, broken), and a "hint" what to do.

    The import runs in a process of its own, for a broken binary may end more than an import.
    """
    installed = version(part)
    if installed is None:
        return {"version": None, "state": "missing", "hint": part.install}
    try:
        done = subprocess.run([sys.executable, "-c", f"import {part.module}"], capture_output=True, text=True,
                              errors="replace", timeout=IMPORT_SECONDS, stdin=subprocess.DEVNULL,
                              env={**os.environ, "NUMBA_DISABLE_JIT": "1"})  # FFCV would compile for seconds
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"version": installed, "state": "broken", "hint": f"{type(error).__name__}; again: {part.install}"}
    if done.returncode == 0:
        return {"version": installed, "state": "ok", "hint": ""}
    said = last_error(done.stderr) or f"the import ended with code {done.returncode}"
    return {"version": installed, "state": "broken", "hint": f"{said}; again: {part.install}"}


def last_error(stderr):
    """The line of a traceback that names its error, the last line where there is none, "" where there are no lines."""
    lines = stderr.strip().splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (named or lines or [""])[-1]


def commit():
    """The git commit that the package runs from, "-dirty" where files differ from it; None outside a checkout."""
    root = Path(fasttrain.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = gently(lambda: subprocess.run(command, capture_output=True, text=True, timeout=2), None)
    return done.stdout.strip() or None if done else None


def cpu():
    """Model, cores that this process may use, and memory of the machine in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = gently(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None)
    return {"cpu": gently(cpu_model, None) or platform.processor(), "cores": cores, "memory_bytes": memory}


def cpu_model():
    """The name of the processor as Linux tells it, None where it does not."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def torch_facts():
    """What torch finds: threads, its CUDA, the devices with memory, capability and native precisions."""
    import torch

    from fasttrain.runtime import native_bf16

    devices = [{"name": "cpu", "bf16_native": native_bf16(torch.device("cpu")), "fp16_native": False,
                "instructions": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices.append({"name": facts.name, "memory_bytes": facts.total_memory,
                        "capability": f"{facts.major}.{facts.minor}", "fp16_native": facts.major >= 7,
                        "bf16_native": native_bf16(torch.device("cuda", index))})
    return {"cuda": torch.version.cuda, "driver": gently(driver, None), "devices": devices}


def driver():
    """The version of NVIDIA's kernel driver."""
    return Path("/sys/module/nvidia/version").read_text().strip()


def cpp_compiler():
    """What torch.compile needs on a CPU: a C++ compiler and Python's headers, in the form of `probe`."""
    wanted = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [wanted] if wanted else ["g++", "clang++", "cl"])), None)
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    lacking = [name for name, there in (("a C++ compiler", found), ("Python's headers", headers)) if not there]
    return {"version": found, "state": "missing" if lacking else "ok",
            "hint": f"{' and '.join(lacking)}: apt-get install g++ python3-dev" if lacking else ""}


def render(report):
    """A report as a rich renderable: a table of facts, then a line for each part that is missing or broken."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    parts = report["parts"]
    for name, value in [*describe(report), *((name, state(part)) for name, part in parts.items())]:
        table.add_row(name, Text(value, overflow="fold"))
    needs = [Text(f"{name} is {part['state']}: {part['hint']}", overflow="fold")
             for name, part in parts.items() if part["state"] != "ok"]
    return Group(table, Text(), *needs)


def describe(report):
    """The facts of a report about the machine as (name, text)."""
    rows = [(name, str(report[name] or "-")) for name in ("fasttrain", "commit", "python", "platform")]
    rows.append(("cpu", f"{report['cpu']}, {report['cores']} cores, {size(report['memory_bytes'])}"))
    for device in report.get("devices", []):
        native = [name for name in ("fp32", "bf16", "fp16") if device.get(f"{name}_native", True)]
        facts = [f"{key} {device[key]}" for key in ("instructions", "threads", "capability") if key in device]
        rows.append((f"on {device['name']}", f"{', '.join(native)} native; {', '.join(facts)}"))
    if "compile" in report:
        works = [f"{where} {'yes' if works else 'no'}" for where, works in report["compile"].items()]
        rows.append(("compile", ", ".join(works)))
    rows.append(("cuda", f"{report.get('cuda') or 'none'} in torch, driver {report.get('driver') or 'not found'}"))
    return rows


def state(part):
    """A part in words: its version and whether it works."""
    return f"{part['version'] or ''} {part['state']}".strip()
