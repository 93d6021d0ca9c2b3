"""Run mutation tests and list the survivors that nobody has accepted yet.

    python tools/mutants.py [--one-in N] [--within SECONDS] [--tests PATH]... [MODULE...]

mutmut changes the functions of each MODULE ("snnet.core", "snnet.core.planner") in many small
ways, one at a time; a change that no test notices survives.  mutmut itself starts pytest for each
change, which takes seconds.  Here one process has all tests ready.  For each change it forks: the
child puts the change into the function and runs the tests that reach it, the quickest first,
until one fails.  ``--one-in`` takes a sample.  A survivor costs the time of all tests that reach
it, a minute and more in the middle of the engine.  ``--within`` limits that; then what only slower
tests would notice is listed too.

``docs/mutants.md`` lists the accepted survivors by function and changed lines.  Exits with 1 if
there is any other survivor.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import importlib
import math
import os
import pkgutil
import random
import re
import signal
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import libcst as cst
import pytest
from mutmut.mutation.file_mutation import Mutation, create_mutations

ROOT = Path(__file__).parents[1]
ACCEPTED = ROOT / "docs" / "mutants.md"
WORKERS = 2
PATIENCE = 20
"""Seconds a test may take beside ten times what it takes: a loop of a change may be endless."""
PROGRESS = 200
"""Changes between two lines about the progress."""

_STRICT = re.compile(r",?\s*\bstrict=\w+|,\s*(?=\))")
_LISTED = re.compile(r"^- `(?P<function>[\w.]+)`: `(?P<old>.*?)` → (?:`(?P<new>.*?)`|nothing)\.")


Tests = dict[pytest.Item, float]
"""Tests, and how many seconds of processor time each takes."""


@dataclass(frozen=True)
class Change:
    """What a mutant changes: in which function, which lines into which."""

    function: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"- `{self.function}`: `{self.old}` → " + (
            f"`{self.new}`." if self.new else "nothing."
        )


@dataclass
class Mutant:
    """A change, the function that it is made in, and what that function is with it."""

    change: Change
    function: Callable[..., Any]
    changed: FunctionType

    def put(self) -> None:
        """Make the change in this process."""
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self.function, part, getattr(self.changed, part))


def main(words: list[str]) -> int:
    """Test the modules' mutants; list new survivors; return the exit code."""
    parser = argparse.ArgumentParser(description="Run mutation tests.")
    add = parser.add_argument
    add("--one-in", type=int, default=1, metavar="N", help="take a sample")
    add("--within", type=float, default=math.inf, metavar="SECONDS", help="of tests for each")
    add("--tests", action="append", metavar="PATH", help="only these tests")
    add("modules", nargs="*", default=["snnet.core", "snnet.node"])
    options = parser.parse_args(words)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    os.chdir(ROOT)
    known = accepted(ACCEPTED.read_text())
    testing = Testing(options.modules, options.one_in, options.within, known)
    tests = options.tests or settings["pytest_add_cli_args_test_selection"]
    # The plugin that limits the time of a test would take the signal that limits that of a change.
    status = pytest.main(
        ["-q", "--timeout", "0", *settings["pytest_add_cli_args"], *tests], plugins=[testing]
    )
    if status != pytest.ExitCode.OK:
        sys.exit("mutation tests need code whose tests pass")
    unknown, others = testing.unknown, testing.accepted
    print(f"\n{testing.count} changes: {unknown} new survivors, {others} accepted ones")
    return 1 if unknown else 0


@dataclass
class Testing:
    """A plugin of pytest that tries mutants in place of running the tests once."""

    modules: list[str]
    one_in: int
    within: float
    known: set[Change]
    count: int = 0
    unknown: int = 0
    accepted: int = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        mutants = [*_mutants(self.modules)]
        random.Random(0).shuffle(mutants)  # what is interrupted has tried a fair sample
        mutants = mutants[:: self.one_in]
        reach = _reach(session, {id(mutant.function.__code__) for mutant in mutants})
        if session.testsfailed:
            return True
        print(f"\ntrying {len(mutants)} changes", flush=True)
        running: dict[int, Change] = {}
        for mutant in mutants:
            self._progress(len(mutants))
            tests = _chosen(reach.get(id(mutant.function.__code__), {}), self.within)
            if not tests:
                self._survives(mutant.change, "  (no test reaches it)")
                continue
            if len(running) == WORKERS:
                self._wait(running)
            running[_start(session, mutant, tests)] = mutant.change
        while running:
            self._wait(running)
        return True

    def _progress(self, number: int) -> None:
        self.count += 1
        if self.count % PROGRESS == 0:
            print(f"{self.count} of {number}: {self.unknown + self.accepted} survive", flush=True)

    def _wait(self, running: dict[int, Change]) -> None:
        pid, status = os.wait()
        change = running.pop(pid)
        if status == 0:
            self._survives(change)

    def _survives(self, change: Change, why: str = "") -> None:
        if change in self.known:
            self.accepted += 1
        else:
            self.unknown += 1
            print(f"{change}{why}", flush=True)


def _start(session: pytest.Session, mutant: Mutant, tests: Tests) -> int:
    """Run the tests with the mutant in a child, which ends with 0 if all pass; return its pid."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        session.config.pluginmanager.unregister(name="terminalreporter")  # has its own copy of 1
        mutant.put()
        for item, following in zip(tests, [*[*tests][1:], None], strict=True):
            signal.alarm(PATIENCE + int(10 * tests[item]))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                os._exit(1)
        os._exit(0)
    finally:  # whatever was raised
        os._exit(1)


def _chosen(tests: Tests, within: float) -> Tests:
    """The tests that take so many seconds together; at least one.

    The quickest come first, but further cases of a test function after the first ones of all.
    """
    cases: Counter[str] = Counter()
    turns = {}
    for item, seconds in sorted(tests.items(), key=lambda test: test[1]):
        function = item.nodeid.partition("[")[0]
        turns[item] = cases[function], seconds
        cases[function] += 1
    order = sorted(turns, key=turns.__getitem__)
    spent = accumulate(tests[item] for item in order)
    return {
        item: tests[item]
        for item, so_far in zip(order, spent, strict=True)
        if so_far <= within or item is order[0]
    }


def _reach(session: pytest.Session, codes: set[int]) -> dict[int, Tests]:
    """Run all tests, and return which of them reach each code, by its id."""
    reach: dict[int, Tests] = {}
    seen: set[int] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and id(frame.f_code) in codes:
            seen.add(id(frame.f_code))

    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        seen.clear()
        began = time.process_time()
        threading.setprofile(called)
        sys.setprofile(called)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        seconds = time.process_time() - began
        for code in seen:
            reach.setdefault(code, {})[item] = seconds
    return reach


# -- what is changed -------------------------------------------------------------------


def _mutants(modules: Iterable[str]) -> Iterator[Mutant]:
    for name in modules:
        package = importlib.import_module(name)
        yield from _of_module(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            yield from _of_module(found.name)


def _of_module(name: str) -> Iterator[Mutant]:
    module = importlib.import_module(name)
    path = str(module.__file__)
    tree, mutations, *_ = create_mutations(path, Path(path).read_text())
    owners = dict(_functions(tree))
    for mutation in mutations:
        if _leaves_all_as_it_was(mutation):
            continue
        words = owners.get(mutation.contained_by_top_level_function)
        function = _function(module, words) if words else None
        if function is not None and words is not None:
            yield from _made(module, path, words, function, mutation)


def _leaves_all_as_it_was(mutation: Mutation) -> bool:
    """Whether a mutation does what the code did, or changes only what a message says.

    None is as false as False is.  The lengths that ``zip`` is told to compare never differ.
    A text with spaces in it is for people.
    """
    old, new = (
        _STRICT.sub("", cst.Module([]).code_for_node(node)).replace("False", "None")
        for node in (mutation.original_node, mutation.mutated_node)
    )
    prose = isinstance(mutation.original_node, cst.SimpleString) and " " in old
    return old == new or prose


def _functions(tree: cst.Module) -> Iterator[tuple[cst.FunctionDef, tuple[str, ...]]]:
    """Yield the functions of a module and of its classes, with their names."""
    for node in tree.body:
        if isinstance(node, cst.FunctionDef):
            yield node, (node.name.value,)
        if isinstance(node, cst.ClassDef):
            for method in node.body.body:
                if isinstance(method, cst.FunctionDef):
                    yield method, (node.name.value, method.name.value)


def _function(module: object, words: tuple[str, ...]) -> Callable[..., Any] | None:
    """Return the function of this name, without what decorators made of it."""
    owner = module
    for word in words[:-1]:
        owner = getattr(owner, word)
    found: Any = vars(owner).get(words[-1])
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, functools.cached_property):
        found = found.func
    while hasattr(found, "__wrapped__") or hasattr(found, "__func__"):
        found = getattr(found, "__func__", None) or found.__wrapped__
    return found if hasattr(found, "__code__") else None


def _made(
    module: ModuleType,
    path: str,
    words: tuple[str, ...],
    function: Callable[..., Any],
    of: Mutation,
) -> Iterator[Mutant]:
    """Yield the mutant of a function, unless its code has other free variables."""
    before = of.contained_by_top_level_function
    assert before is not None
    after = cst.ensure_type(before.deep_replace(of.original_node, of.mutated_node), cst.FunctionDef)
    old, new = (cst.Module([node]).code.strip() for node in (before, after))
    changed = [*difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=0)][2:]
    taken, given = (
        " ".join(line[1:].strip() for line in changed if line.startswith(sign)) for sign in "-+"
    )
    text = cst.Module([after.with_changes(decorators=[])]).code.strip()
    if len(words) > 1:
        text = f"class {words[0]}:\n" + "\n".join(f"    {line}" for line in text.split("\n"))
    source = f"from __future__ import annotations\n{text}\n"
    found: Any = {**vars(module)}
    exec(compile(source, path, "exec", dont_inherit=True), found)
    for word in words:
        found = (found if isinstance(found, dict) else vars(found))[word]
    if found.__code__.co_freevars == function.__code__.co_freevars:
        yield Mutant(Change(".".join([module.__name__, *words]), taken, given), function, found)


# -- what is known ---------------------------------------------------------------------


def accepted(text: str) -> set[Change]:
    """The changes that a page lists."""
    found = map(_LISTED.match, text.splitlines())
    return {Change(match["function"], match["old"], match["new"] or "") for match in found if match}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
