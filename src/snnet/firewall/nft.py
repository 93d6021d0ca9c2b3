"""Carrying out nft's commands: in this process by libnftables, else by the program.

libnftables is used through its official Python binding, the module ``nftables``
(Debian's python3-nftables, or its copy on PyPI, oxl-libnftables).
"""

from __future__ import annotations

import errno
import importlib
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

from snnet.contract import ApiError, error_for
from snnet.system.netns import in_netns
from snnet.system.process import errno_in, find_program, run

Runner = Callable[[str, bool], str]
"""Carries out a script in one transaction; gives back what was printed, as JSON or text."""

INSTALL = "apt-get install nftables, and for its speed pip install 'snnet[nftables]'"


class Nft:
    """nft in one network namespace, from any number of threads."""

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._lock = threading.Lock()
        self._runner: Runner | None = None

    def missing(self) -> str | None:
        """Why there is no nft here, or None if there is."""
        if self._runner is None and _binding() is None and find_program("nft") is None:
            return f"neither libnftables nor the program nft is here: {INSTALL}"
        return None

    def ruleset(self) -> list[dict[str, Any]]:
        """Everything there is, whosever it is, but no elements of sets (libnftables-json(5))."""
        listed = json.loads(self.run(["list ruleset"], as_json=True))
        return list(listed["nftables"])

    def run(self, commands: Iterable[str], *, as_json: bool = False) -> str:
        """Carry out the commands, all or none; what they print, sets tersely if as JSON.

        Raises the class of the kernel's errno, or ``ApiError`` with nft's words.
        """
        script = "\n".join(commands)
        with self._lock:
            # The library opens a socket of its own for what it does not know yet:
            # every call is made inside the namespace.
            return in_netns(self._netns, lambda: self._in_here()(script, as_json))

    def close(self) -> None:
        """Let go of the library's sockets; may be repeated."""
        with self._lock:
            self._runner = None

    def _in_here(self) -> Runner:
        if self._runner is None:
            self._runner = _library() or _program
        return self._runner


def _library() -> Runner | None:
    binding = _binding()
    if binding is None:
        return None
    try:
        nft = binding.Nftables()
    except OSError:  # the binding is here, the library is not
        return None

    def run_here(script: str, as_json: bool) -> str:
        nft.set_json_output(as_json)
        nft.set_terse_output(as_json)
        code, output, error = nft.cmd(script)
        if code != 0:
            raise _refused(error)
        return str(output)

    return run_here


def _program(script: str, as_json: bool) -> str:
    if as_json:  # with --json a script from a file has to be JSON too
        done = run(["nft", "--json", "--terse", *script.split()], check=False)
    else:
        done = run(["nft", "-f", "-"], input=script + "\n", check=False)
    if done.returncode != 0:
        raise _refused(done.stderr)
    return done.stdout


def _binding() -> Any | None:
    try:
        binding = importlib.import_module("nftables")
    except ImportError:
        return None
    return binding if hasattr(binding, "Nftables") else None  # else another module of that name


def _refused(said: str) -> ApiError:
    """The error for what nft says: it ends with the kernel's words, then shows the place."""
    first = next((line for line in said.splitlines() if "Error" in line), said.strip())
    number = errno_in(first.partition(";")[0])  # a guess at what was meant may follow
    if number is None and "does not exist" in first:
        # What nft looks for itself, elements of intervals, it names without an errno.
        number = errno.ENOENT
    if number is None:
        return ApiError(f"nft: {first}")
    return error_for(number, "change the firewall", detail=first)
