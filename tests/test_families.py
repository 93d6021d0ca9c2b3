"""Code names an IP family only where it must: CONTRIBUTING lists these places."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import snnet

HOME = Path(snnet.__file__).parent
PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"

NEUTRAL = (
    "agent",
    "cluster",
    "contract",
    "core",
    "dhcp",
    "docker",
    "node",
    "plugins.py",
    "config.py",
    "checks.py",
)
"""What decides.  Drivers, the fake kernel and programs speak to a kernel with two families."""

_NAMES = re.compile(r"(?i)ipv[46]|inet6?$|_v[46]$|^v[46]_")


def code(path: Path) -> Iterator[ast.AST]:
    """The nodes of a module, without docstrings and annotations."""
    skipped: set[ast.AST] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        if isinstance(node, ast.alias):
            skipped.add(node)
    yield from (node for node in ast.walk(tree) if node not in skipped)


def names_a_family(path: Path) -> bool:
    for node in code(path):
        if isinstance(node, ast.Name) and _NAMES.search(node.id):
            return True
        if isinstance(node, ast.Attribute) and _NAMES.search(node.attr):
            return True
        if isinstance(node, ast.Compare) and "version" in ast.unparse(node.left):
            numbers = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if numbers & {4, 6}:
                return True
    return False


def modules() -> list[str]:
    found = []
    for part in NEUTRAL:
        top = HOME / part
        found += [top] if top.is_file() else sorted(top.rglob("*.py"))
    return [str(path.relative_to(HOME)) for path in found]


def listed() -> set[str]:
    """The modules of the page's list: `core/mesh`, without its suffix."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("**Two families, one code.**")[2].partition("\n- ")[0]
    return {f"{name}.py" for name in re.findall(r"`([a-z_/]+[a-z0-9])`", section) if name}


@pytest.mark.parametrize("name", modules())
def test_a_module_names_a_family_only_where_the_page_says_so(name: str) -> None:
    assert names_a_family(HOME / name) <= (name in listed()), name


def test_the_page_lists_no_other() -> None:
    assert {name for name in listed() if not names_a_family(HOME / name)} == set()


def test_no_function_has_a_twin_for_the_other_family() -> None:
    twins = []
    for name in modules():
        tree = ast.parse((HOME / name).read_text(encoding="utf-8"))
        functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        for function in functions:
            for ending in ("6", "_6", "_v6", "_ipv6"):
                base = function.removesuffix(ending)
                if base != function and {base, base + ending.replace("6", "4")} & functions:
                    twins.append(f"{name}: {function}")
    assert twins == []
