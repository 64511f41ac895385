"""Finds out what this machine and this installation offer, and what installs each missing part."""

import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import fasttrain
from fasttrain.cores import cores
from fasttrain.errors import ConfigError
from fasttrain.format import size

if TYPE_CHECKING:
    from rich.console import Group

IMPORT_SECONDS = 120
PIP = f"{shlex.quote(sys.executable)} -m pip install"


class Part(NamedTuple):
    """A package that fasttrain uses: its module, its distributions (any of them will do), how to install it."""

    module: str
    distributions: tuple[str, ...]
    install: str


MODULES = {"pillow": "PIL", "pyyaml": "yaml"}  # where the module is not called what the package is
CORE = ("torch", "numpy", "numba", "simplejpeg", "pillow", "pyyaml", "rich", "tensorboard", "matplotlib", "jinja2",
        "shtab")
PARTS = {name: Part(MODULES.get(name, name), (name,), f"{PIP} {name}") for name in CORE} | {
    "triton": Part("triton", ("triton",), "compiles for GPUs, comes with torch's builds for them"),
    "dali": Part("nvidia.dali", ("nvidia-dali-cuda120", "nvidia-dali-cuda130"),
                 f"{PIP} nvidia-dali-cuda120   (with CUDA 13: nvidia-dali-cuda130)"),
    "ffcv": Part("ffcv", ("ffcv",), "scripts/install_ffcv"),
}
Facts = dict[str, Any]


def versions() -> Facts:
    """Returns what a run stores in `env.json`, within milliseconds: finds versions without importing packages."""
    return {
        "fasttrain": fasttrain.__version__, "commit": commit(), "python": platform.python_version(),
        "platform": platform.platform(), **cpu(), **gently(torch_facts, {}),
        "packages": {name: version(part) for name, part in PARTS.items()},
    }


def report() -> Facts:
    """Returns all facts, as a dict that JSON can hold; imports every part, torch here and the others elsewhere."""
    with ThreadPoolExecutor(4) as pool:
        others = pool.submit(importable, [part for part in PARTS.values() if part.module != "torch"])
        facts = versions()
        sound = others.result() | ({"torch"} if "devices" in facts else set())
        doubtful = {name: part for name, part in PARTS.items() if part.module not in sound}
        probed = dict(zip(doubtful, pool.map(probe, doubtful.values()), strict=True))
    states = {name: probed.get(name) or works(part) for name, part in PARTS.items()}
    states["c++ compiler"] = cpp_compiler()
    compiles = {"cpu": states["c++ compiler"]["state"] == "ok", "gpu": states["triton"]["state"] == "ok"}
    return {**facts, "compile": compiles, "parts": states}


def gently(function: Callable[[], Any], otherwise: Any) -> Any:
    """Returns what `function` returns, or `otherwise` if it raises: a broken part must not end a report."""
    try:
        return function()
    except Exception:
        return otherwise


def version(part: Part) -> str | None:
    """Returns the installed version of a part; None where it is missing."""
    for distribution in part.distributions:
        found = gently(lambda name=distribution: importlib.metadata.version(name), None)
        if found:
            return found
    return None


def optional(module: str, who: str, install: str | None = None) -> ModuleType:
    """Imports and returns a module of a package that not everybody needs. install: the command for it, if not plain.

    Raises ConfigError that says who needs it and what installs it; a broken install raises more than ImportError.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        package = module.partition(".")[0]
        raise ConfigError(f"{who}: {package} cannot be imported ({error}); {install or f'{PIP} {package}'}") from None


def importable(parts: Iterable[Part]) -> set[str]:
    """Returns the modules that one process imported, one after the other.

    That takes half the time of a process for each, for they import one another. What is missing in the answer may be
    in order: a broken binary ends the process before it comes to the others.
    """
    code = ("import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    try:\n"
            "        importlib.import_module(name)\n"
            "        print('\\n' + name, flush=True)\n"
            "    except Exception:\n"
            "        pass\n")
    done = gently(lambda: run_python("-c", code, *(part.module for part in parts if version(part))), None)
    return set(done.stdout.split()) if done else set()


def run_python(*words: str) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own; returns what it said and how it ended."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, errors="replace",
                          timeout=IMPORT_SECONDS, stdin=subprocess.DEVNULL,
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1"})  # FFCV would compile for seconds


def works(part: Part) -> dict[str, str | None]:
    """Returns what `probe` returns for a part that could be imported."""
    return {"version": version(part), "state": "ok", "hint": ""}


def probe(part: Part) -> dict[str, str | None]:
    """Imports a part; returns its "version", its "state" (ok, missing, broken) and a "hint" on what to do.

    The import runs in a process of its own, because a broken binary may end the process.
    """
    installed = version(part)
    if installed is None:
        return {"version": None, "state": "missing", "hint": part.install}
    try:
        done = run_python("-c", f"import {part.module}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"version": installed, "state": "broken", "hint": f"{type(error).__name__}; again: {part.install}"}
    if done.returncode == 0:
        return works(part)
    said = last_error(done.stderr) or f"the import ended with code {done.returncode}"
    return {"version": installed, "state": "broken", "hint": f"{said}; again: {part.install}"}


def last_error(stderr: str) -> str:
    """Returns the line of a traceback that names its error; without one the last line, or ""."""
    lines = stderr.strip().splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (named or lines or [""])[-1]


def commit() -> str | None:
    """Returns the git commit of the package, with "-dirty" where files differ from it; None outside a checkout."""
    root = Path(fasttrain.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = gently(lambda: subprocess.run(command, capture_output=True, text=True, timeout=2), None)
    return done.stdout.strip() or None if done else None


def cpu() -> Facts:
    """Returns the model, the cores that this process may use, and the memory of the machine in bytes."""
    memory = gently(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None)
    return {"cpu": gently(cpu_model, None) or platform.processor(), "cores": cores(), "memory_bytes": memory}


def cpu_model() -> str | None:
    """Returns the name of the processor as Linux has it; None where it has none."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def torch_facts() -> Facts:
    """Returns what torch finds: its CUDA, and the devices with memory, capability and native precisions."""
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


def driver() -> str:
    """Returns the version of NVIDIA's kernel driver."""
    return Path("/sys/module/nvidia/version").read_text().strip()


def cpp_compiler() -> dict[str, str | None]:
    """Looks for what torch.compile needs on a CPU, a C++ compiler and Python's headers; returns it as `probe` does."""
    wanted = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [wanted] if wanted else ["g++", "clang++", "cl"])), None)
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    lacking = [name for name, there in (("a C++ compiler", found), ("Python's headers", headers)) if not there]
    return {"version": found, "state": "missing" if lacking else "ok",
            "hint": f"{' and '.join(lacking)}: apt-get install g++ python3-dev" if lacking else ""}


def render(report: Facts) -> "Group":
    """Returns a report for rich to print: a table of facts, then a line for each part that is missing or broken."""
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


def describe(report: Facts) -> list[tuple[str, str]]:
    """Returns the facts of a report about the machine as (name, text)."""
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


def state(part: dict[str, str | None]) -> str:
    """Returns the version of a part and whether it works."""
    return f"{part['version'] or ''} {part['state']}".strip()
