"""The shape of the product's code: no import circles, short files, flat hierarchies.

Imports count wherever they stand, in functions and under ``if TYPE_CHECKING`` too: a
circle that Python does not see is one to the reader all the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import snnet

SOURCE = Path(snnet.__file__).parent.parent
LINES_MAX = 400
HEIGHT_MAX = 2
"""Classes of one package that stand above each other: a base and its subclasses."""

WITHOUT_CIRCLES = (
    "snnet.agent",
    "snnet.backends.fake",
    "snnet.backends.iproute_shell",
    "snnet.backends.netlink",
    "snnet.cli",
    "snnet.cluster",
    "snnet.conformance",
    "snnet.contract",
    "snnet.core",
    "snnet.dhcp",
    "snnet.docker",
    "snnet.explain",
    "snnet.doctor",
    "snnet.drawing",
    "snnet.firewall",
    "snnet.lab",
    "snnet.node",
    "snnet.registries",
    "snnet.system",
)
FLAT = ("snnet.backends.fake.fabric", "snnet.core", "snnet.node")


class Import(NamedTuple):
    """One import from a module of the same package, with the names in both."""

    module: str
    name: str = ""
    known_as: str = ""


def modules(package: str = "snnet") -> dict[str, ast.Module]:
    """The syntax tree of each module of the package, by its full name."""
    found = {}
    for path in sorted((SOURCE / package.replace(".", "/")).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = tree_of(path)
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(name: str, trees: Mapping[str, ast.Module]) -> Iterator[Import]:
    """What a module imports from modules among ``trees``."""
    for node in ast.walk(trees[name]):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names if alias.name in trees)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(name, node, trees)
            for alias in node.names:
                if f"{origin}.{alias.name}" in trees:
                    yield Import(f"{origin}.{alias.name}")
                elif origin in trees:
                    yield Import(origin, alias.name, alias.asname or alias.name)


def graph(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {name: {found.module for found in imports(name, trees)} for name in trees}


def _origin(name: str, node: ast.ImportFrom, trees: Mapping[str, ast.Module]) -> str:
    """The absolute name of what stands between ``from`` and ``import``."""
    if not node.level:
        return node.module or ""
    is_package = any(other.startswith(f"{name}.") for other in trees)
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *filter(None, [node.module])])


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Each set of modules that import each other, by whatever way (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            at = stack.index(name)
            circle = sorted(stack[at:])
            del stack[at:]
            if len(circle) > 1 or name in edges[name]:
                found.append(circle)

    for name in sorted(edges):
        if name not in order:
            visit(name)
    return found


def heights(trees: Mapping[str, ast.Module]) -> dict[str, int]:
    """How many classes of these modules stand in the longest line that ends in each."""
    classes = {
        f"{name}.{node.name}": (name, node)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    origins = {
        name: {found.known_as: found for found in imports(name, trees) if found.name}
        for name in trees
    }

    def resolve(module: str, name: str) -> str:
        """Where a class is defined that a module knows by this name."""
        while f"{module}.{name}" not in classes and name in origins.get(module, {}):
            module, name, _ = origins[module][name]
        return f"{module}.{name}"

    def height(name: str) -> int:
        if name not in classes:
            return 0  # of another package
        module, node = classes[name]
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        named = [base.id for base in bases if isinstance(base, ast.Name)]
        return 1 + max((height(resolve(module, base)) for base in named), default=0)

    return {name: height(name) for name in classes}


@pytest.mark.parametrize("package", WITHOUT_CIRCLES)
def test_no_import_circle(package: str) -> None:
    assert circles(graph(modules(package))) == []


@pytest.mark.parametrize("package", FLAT)
def test_no_deep_hierarchy(package: str) -> None:
    found = heights(modules(package)).items()
    assert [f"{name} is {height} high" for name, height in found if height > HEIGHT_MAX] == []


def test_nodes_reach_into_no_other_objects_privates() -> None:
    reached = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, tree in modules("snnet.node").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    assert reached == []


def test_no_long_file() -> None:
    lengths = {
        path.relative_to(SOURCE): path.read_text().count("\n")
        for path in (SOURCE / "snnet").rglob("*.py")
    }
    assert [str(path) for path, lines in lengths.items() if lines > LINES_MAX] == []


@pytest.mark.parametrize("package", sorted({p.parent for p in SOURCE.rglob("__init__.py")}))
def test_a_package_that_lists_its_modules_lists_all(package: Path) -> None:
    """And no others: its docstring is the reader's map."""
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    listed = re.findall(r"``([a-z0-9_*]+\.py)``", doc)
    found = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    named = {path.name for name in listed for path in package.glob(name)}
    assert not listed or named == found
    assert all(list(package.glob(name)) for name in listed)


def test_every_package_is_listed() -> None:
    packages = {
        ".".join(path.parent.relative_to(SOURCE).parts)
        for path in (SOURCE / "snnet").glob("*/__init__.py")
    }
    assert packages - {*WITHOUT_CIRCLES} == {"snnet.backends"}  # a namespace of drivers


def test_the_checks_find_what_they_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "__init__": "from .low import Low",
        "low": "class Low: pass",
        "middle": "if TYPE_CHECKING:\n    from .high import High\n"
        "from . import Low as Base\nclass Middle(Base): pass",
        "high": "def late():\n    import kit.middle\n"
        "from kit.middle import Middle\nclass High(Middle[int]): pass",
        "deep/__init__": "from .. import low\nfrom ..deep import own",
        "deep/own": "",
    }
    (tmp_path / "kit" / "deep").mkdir(parents=True)
    for name, text in sources.items():
        (tmp_path / "kit" / f"{name}.py").write_text(text)
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    trees = modules("kit")
    assert graph(trees)["kit.deep"] == {"kit.low", "kit.deep.own"}
    assert circles(graph(trees)) == [["kit.high", "kit.middle"]]
    assert circles({"a": {"a"}, "b": set()}) == [["a"]]
    assert heights(trees) == {"kit.low.Low": 1, "kit.middle.Middle": 2, "kit.high.High": 3}
