"""Packaging: `pip install .` gives the library and the command `fasttrain`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "fasttrain" / "__init__.py").read_text()).group(1)

setup(
    name="fasttrain-tiny",  # on PyPI `fasttrain` is another project; the import and the command are fasttrain
    version=version,
    description="Trains ResNet variants on Tiny-ImageNet as fast as the hardware allows, and shows where the time goes",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    keywords=["resnet", "tiny-imagenet", "benchmark", "profiling", "pytorch", "dali", "ffcv"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["fasttrain", "fasttrain.*"]),
    package_data={"fasttrain": ["recipes/*.yaml", "templates/*", "*/templates/*"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.11",  # below 2.10, loading with weights_only has a memory-safety hole
        "numpy>=1.26",
        "numba>=0.60",
        "simplejpeg>=1.7",
        "pillow>=10.1",
        "pyyaml>=6",
        "rich>=13",
        "tensorboard>=2.21",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "shtab>=1.13",
    ],
    extras_require={
        "dali": ["nvidia-dali-cuda120>=2.0"],
        "dali-cu13": ["nvidia-dali-cuda130>=2.0"],
        "export": ["safetensors>=0.4", "onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
        "dev": ["pytest>=8", "ruff>=0.6", "hypothesis>=6", "torchmetrics>=1.4", "safetensors>=0.4",
                "onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20", "pandas>=2",
                "nbclient>=0.10", "ipykernel>=6"],
    },
    entry_points={"console_scripts": ["fasttrain = fasttrain.cli.main:main"]},
)
