"""The rules of ARCHITECTURE.md: arrows go down, nothing goes in circles, heavy packages come late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fasttrain

ROOT = Path(fasttrain.__file__).parent
LIGHT = ("config", "registry", "keyed", "errors", "format", "plotting", "cli.completion", "cli.main", "study.plan")

# What the files of each layer may import: their own layer, what is listed here, and the ground floor, which is every
# file directly in the package, and `keyed`. The ground floor imports only itself.
ALLOWED = {
    "cli": {"study", "inference", "runs", "perf", "train", "data", "models"},
    "study": {"runs", "perf", "train", "data", "models"},
    "inference": {"train", "data", "models"},
    "runs": {"perf", "train", "data", "models"},
    "perf": {"train", "data", "models"},
    "train": {"data", "models"},
    "data": set(),
    "models": set(),
}
GROUND = "ground"


class Tree:
    """The Python files of a package and the imports between them, those inside of functions included."""

    def __init__(self, root):
        self.root = root
        self.files = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
        self.imports = {name: set(self.imports_of(path)) - {name} for name, path in self.files.items()}

    def imports_of(self, path):
        """The modules of this package that a file imports, wherever in it the import stands."""
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.files)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative imports would hide from this test"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    if inner in self.files or node.module in self.files:
                        yield inner if inner in self.files else node.module

    def folders(self):
        """The arrows between folders; a file of the ground floor counts as a folder of its own."""
        arrows = {}
        for name, targets in self.imports.items():
            mine = self.folder(name)
            arrows.setdefault(mine, set()).update(self.folder(target) for target in targets)
        return {name: targets - {name} for name, targets in arrows.items()}

    def folder(self, module):
        path = self.files[module].relative_to(self.root)
        return str(path.parent) if len(path.parts) > 1 else path.name

    def layer(self, module):
        """The folder at the top that a module lies in; the ground floor; or `cli` for the package's `__main__`."""
        parts = module.split(".")[1:]
        if parts == ["__main__"]:
            return "cli"
        return parts[0] if parts and parts[0] in ALLOWED else GROUND

    def forbidden(self):
        """The imports that no arrow of ALLOWED permits, as "importer -> imported"."""
        return [f"{name} -> {target}" for name, targets in self.imports.items() for target in sorted(targets)
                if self.layer(target) not in {self.layer(name), GROUND} | ALLOWED.get(self.layer(name), set())]


def module_name(path, root):
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(arrows):
    """The strongly connected components of more than one node, each sorted (Tarjan, SIAM J. Comput. 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return sorted(found)


@pytest.fixture(scope="module")
def tree():
    return Tree(ROOT)


def test_every_layer_has_its_arrows(tree):
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert folders == {*ALLOWED, "keyed"}
    assert len(tree.files) > 100 and "fasttrain.train.step" in tree.imports["fasttrain.train.slices"]


def test_arrows_go_down_only(tree):
    assert tree.forbidden() == []


def test_no_files_import_each_other_in_a_circle(tree):
    assert circles(tree.imports) == []


def test_no_folders_import_each_other_in_a_circle(tree):
    assert circles(tree.folders()) == []


def test_loaders_do_not_know_each_other(tree):
    loaders = {name for name in tree.files if name.startswith("fasttrain.data.loaders.")}
    assert len(loaders) >= 6
    assert [(name, target) for name in loaders for target in tree.imports[name] & loaders] == []


def make_tree(root, **files):
    """A package `root` of files, their names with __ for each slash, and what is in them."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, root):
            (folder / "__init__.py").touch()
        path.write_text(text)
    return Tree(root)


def test_circles_and_climbs_are_found_wherever_they_hide(tmp_path):
    toy = make_tree(tmp_path / "toy",
                    data__batch="import toy.errors\ndef late():\n    from toy.data import crop\n",
                    data__crop="from toy.data.kernel import cut",
                    data__kernel="class Kernel:\n    def __init__(self):\n        import toy.data.batch\n",
                    train__step="from toy.models.net import build\nfrom toy.data.batch import Batch",
                    models__net="from toy import train\ndef build():\n    from toy.runs.folder import claim\n",
                    runs__folder="from toy.errors import Error",
                    errors="def tell():\n    from toy.data.crop import size\n")
    assert circles(toy.imports) == [["toy.data.batch", "toy.data.crop", "toy.data.kernel", "toy.errors"]]
    assert circles(toy.folders()) == [["data", "errors.py"], ["models", "train"]]
    assert toy.forbidden() == ["toy.errors -> toy.data.crop", "toy.models.net -> toy.runs.folder",
                               "toy.models.net -> toy.train"]


def test_a_tree_without_circles_and_climbs_passes(tmp_path):
    toy = make_tree(tmp_path / "toy", errors="", registry="from toy.errors import Error",
                    keyed__mirror="import toy.errors", data__batch="from toy import registry\nimport toy.keyed.mirror",
                    train__step="def train():\n    from toy.data.batch import Batch\n",
                    cli__main="import toy.train.step", __main__="from toy.cli.main import main")
    assert (circles(toy.imports), circles(toy.folders()), toy.forbidden()) == ([], [], [])


def test_the_package_leaves_sys_path_alone(tree):
    touching = [name for name, path in tree.files.items() for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Attribute) and node.attr == "path"
                and isinstance(node.value, ast.Name) and node.value.id == "sys"]
    assert touching == []


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

    for entries in (registry.ARCHS, registry.HEADS, registry.LOADERS, registry.SOURCES, registry.AUGMENTATIONS,
                    registry.OPTIMIZERS, registry.SCHEDULES):
        for name in entries.names():
            try:
                assert callable(entries.load(name))
            except ConfigError as error:
                assert "install" in str(error)


def test_exported_names_exist():
    for name in fasttrain.__all__:
        assert getattr(fasttrain, name) is not None
