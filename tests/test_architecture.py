"""The rules of ARCHITECTURE.md: imports go down only, loaders do not know each other, heavy packages come late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fasttrain

LIGHT = ("config", "registry", "keyed", "errors", "cli.completion", "cli.main", "study.plan")
ROOT = Path(fasttrain.__file__).parent
# the first pattern that a module starts with is its layer; it may import from its own layer and from those below
LAYERS = [
    ("fasttrain.cli", 7), ("fasttrain.__main__", 7), ("fasttrain.study", 6), ("fasttrain.inference", 6),
    ("fasttrain.runs", 5), ("fasttrain.perf", 4), ("fasttrain.train", 3), ("fasttrain.data", 2),
    ("fasttrain.models", 2), ("fasttrain", 0),
]


def layer(module):
    return next(level for prefix, level in LAYERS
                if module == prefix or module.startswith((prefix + ".", prefix + "_")))


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path):
    """The fasttrain modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("fasttrain"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fasttrain"):
            for alias in node.names:
                inner = ROOT.parent.joinpath(*node.module.split("."), alias.name)
                deeper = inner.with_suffix(".py").exists() or inner.is_dir()
                yield f"{node.module}.{alias.name}" if deeper else node.module


@pytest.mark.parametrize("module, path", list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_down_only(module, path):
    above = [name for name in imports(path) if layer(name) > layer(module)]
    assert not above, f"{module} imports {above} from a layer above its own"
    if ".loaders." in module:
        others = [name for name in imports(path) if ".loaders." in name]
        assert not others, f"the loader {module} imports {others}"


@pytest.mark.parametrize("module", ["fasttrain", *(f"fasttrain.{name}" for name in LIGHT)])
def test_light_modules_import_nothing_heavy(module):
    code = (f"import sys, {module}\n"
            "heavy = {'torch', 'numba', 'nvidia', 'ffcv', 'matplotlib', 'PIL', 'tensorboard'} & set(sys.modules)\n"
            "sys.exit(f'imported: {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_registered_name_can_be_loaded_or_says_what_it_needs():
    from fasttrain import registry
    from fasttrain.errors import ConfigError

    for entries in (registry.ARCHS, registry.HEADS, registry.LOADERS, registry.OPTIMIZERS, registry.SCHEDULES):
        for name in entries.names():
            try:
                assert callable(entries.load(name))
            except ConfigError as error:
                assert "install" in str(error)


def test_exported_names_exist():
    for name in fasttrain.__all__:
        assert getattr(fasttrain, name) is not None
