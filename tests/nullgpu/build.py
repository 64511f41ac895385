"""Builds the null GPU against the CUDA build of torch beside this interpreter: `python tests/nullgpu/build.py FOLDER`.

Leaves FOLDER/libcuda.so.1, which stands for libcuda, libcudart, cuBLAS and cuDNN where it is preloaded. Functions of
these that torch and triton need and device/*.cpp do not define answer "success", and say so in the log.
"""

import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = sorted((Path(__file__).parent / "device").glob("*.cpp"))
LIBRARIES = "cudart|cublas|cublasLt|cudnn|cusolver|cusparse|cufft|cupti"


def package(name):
    """The folder of an installed package, which is not imported."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def headers():
    """Folders with the headers of CUDA and cuDNN, from the wheels that torch came with."""
    nvidia = package("torch").parent / "nvidia"
    return [*nvidia.glob("cu*/include"), *nvidia.glob("cu*/include/cccl"), *nvidia.glob("cudnn/include")]


def needed():
    """The functions that torch and triton expect of the libraries that the null GPU stands for."""
    names = set()
    for library in (package("torch") / "lib").glob("*.so"):
        names.update(re.findall(rf" U (\w+)@lib(?:{LIBRARIES})\.so", undefined_symbols(library)))
    names.update(re.findall(r" U (cu[A-Z]\w+)", undefined_symbols(package("torch") / "lib" / "libcaffe2_nvrtc.so")))
    driver = package("triton") / "backends" / "nvidia" / "driver.c"
    return names | set(re.findall(r"\b(cu[A-Z][A-Za-z0-9]+)\(", driver.read_text()))


def undefined_symbols(library):
    return run("nm", "-D", "--undefined-only", library)


def defined(objects):
    """The functions that compiled files define."""
    return set(re.findall(r" T (\w+)", run("nm", "--defined-only", *objects)))


def unanswered(names):
    """C source of functions that log that they were called, and return 0."""
    return "int nullgpu_unanswered(const char *);\n" + "".join(
        f'int {name}(void) {{ return nullgpu_unanswered("{name}"); }}\n' for name in sorted(names))


def build(folder):
    """Compiles and links; returns the library's path."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O1", "-fPIC", "-Wall", "-Wextra", *(f"-I{path}" for path in headers())]

    def compile_one(source):
        compiled = folder / f"{source.stem}.o"
        run("g++", *flags, "-c", source, "-o", compiled)
        return compiled

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    rest = folder / "unanswered.c"
    rest.write_text(unanswered(needed() - defined(objects)))
    run("gcc", "-O1", "-fPIC", "-w", "-fno-builtin", "-c", rest, "-o", rest.with_suffix(".o"))
    library = folder / "libcuda.so.1"
    linked = folder / "linked.tmp"
    run("g++", "-shared", f"-Wl,-soname,{library.name}", "-o", linked, *objects, rest.with_suffix(".o"), "-lpthread")
    return linked.replace(library)


def run(*command):
    """Runs a tool; its output. What it has to say of an error goes to the terminal."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"null GPU: cannot be built: {error}")
