"""Run mutation tests and list the survivors that nobody has accepted yet.

    python tools/mutants.py [MODULE...]

Each MODULE ("snnet.core", "snnet.core.planner") is changed by mutmut in many small ways,
one at a time; a change that no test notices survives. ``docs/mutants.md`` lists the
accepted survivors by function and changed line, because mutmut's own numbers move with
every edit. Exits with 1 if there is any other survivor.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ACCEPTED = ROOT / "docs" / "mutants.md"
LOG = ROOT / ".cache" / "mutants.log"
MUTMUT = [sys.executable, "-m", "mutmut"]
WORKERS = 2

_LISTED = re.compile(r"^- `(?P<function>[\w.]+)`: `(?P<old>.*?)` → (?:`(?P<new>.*?)`|nothing)\.")
_RESULT = re.compile(r"^\s*(?P<name>\S+__mutmut_\d+): (?P<verdict>.+)$")


@dataclass(frozen=True)
class Change:
    """What a mutant changes: in which function, which lines into which."""

    function: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"- `{self.function}`: `{self.old}` → " + (
            f"`{self.new}`" if self.new else "nothing"
        )


def main(modules: list[str]) -> int:
    """Test the modules' mutants; list new survivors; return the exit code."""
    patterns = [f"{module}.*" for module in modules]
    print(f"running mutmut; its progress is in {LOG.relative_to(ROOT)}", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    mutmut("run", "--max-children", str(WORKERS), *patterns, log=LOG)
    survivors = {
        name: verdict
        for name, verdict in results(mutmut("results"))
        if verdict != "not checked" and any(name.startswith(f"{module}.") for module in modules)
    }
    known = accepted(ACCEPTED.read_text())
    changes = {name: change(name, mutmut("show", name)) for name in survivors}
    unknown = {name: found for name, found in changes.items() if found not in known}
    for name, found in unknown.items():
        print(f"{found}  ({survivors[name]}, {name})")
    print(f"\n{len(unknown)} new survivors, {len(changes) - len(unknown)} accepted ones")
    return 1 if unknown else 0


def mutmut(*words: str, log: Path | None = None) -> str:
    """Run mutmut with these words; return its output, or write it to ``log`` as it comes."""
    with contextlib.ExitStack() as files:
        stdout = files.enter_context(log.open("w")) if log else subprocess.PIPE
        done = subprocess.run([*MUTMUT, *words], cwd=ROOT, check=False, text=True, stdout=stdout)
    if done.returncode != 0:
        sys.exit(f"mutmut {words[0]} failed: it needs code whose tests pass")
    return done.stdout or ""


def results(text: str) -> Iterator[tuple[str, str]]:
    """The mutants that ``mutmut results`` lists, each with its verdict."""
    for line in text.splitlines():
        if match := _RESULT.match(line):
            yield match["name"], match["verdict"]


def change(name: str, diff: str) -> Change:
    """What a mutant changes, from its name and from what ``mutmut show`` prints."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    old, new = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return Change(function_of(name), old, new)


def function_of(name: str) -> str:
    """The dotted name of the function a mutant is of."""
    module, _, mangled = name.rsplit("__mutmut_", 1)[0].rpartition(".")
    words = mangled.removeprefix("x_").removeprefix("xǁ").split("ǁ")
    return ".".join([module, *words])


def accepted(text: str) -> set[Change]:
    """The changes that a page lists."""
    found = map(_LISTED.match, text.splitlines())
    return {Change(match["function"], match["old"], match["new"] or "") for match in found if match}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["snnet.core", "snnet.node"]))
