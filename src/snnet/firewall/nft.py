"""Running nft commands: with libnftables in this process, else with the program ``nft``.

libnftables is used through its official Python binding, the module ``nftables``
(Debian's python3-nftables, or its copy on PyPI, oxl-libnftables).  It calls exit(3) when it
gets no socket (netlink_init_error, src/netlink.c), which no handler in Python can catch.  So
it is only called while there are descriptors to spare.

One thread at a time calls it, whatever the namespace: it looks up protocols by getprotobyname(3),
whose answer another thread overwrites (MT-Unsafe), and then a rule is for another protocol.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from snnet.contract import ApiError, error_for
from snnet.system.netns import in_netns
from snnet.system.process import errno_in, find_program, run

Runner = Callable[[str, bool, bool], str]
"""Runs a script in one transaction; returns what was printed, as JSON or text, terse or not."""

_FD_SETSIZE = 1024  # sys/select.h
SPARE = 24
"""How many descriptors must be free for a call of the library, which needs at most three: other
threads may take some of them meanwhile."""

INSTALL = "apt-get install nftables, and for its speed pip install 'snnet[nftables]'"


_alone = threading.Lock()
"""Held by the thread that is in the library."""


def _renew_lock() -> None:
    """Give a child process a lock that no thread of its parent holds."""
    global _alone
    _alone = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Nft:
    """nft in one network namespace, for any number of threads."""

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._lock = threading.Lock()
        self._runner: Runner | None = None

    def missing(self) -> str | None:
        """Return why nft cannot be used here, or None if it can."""
        if self._runner is None and _binding() is None and find_program("nft") is None:
            return f"neither libnftables nor the program nft is installed: {INSTALL}"
        return None

    def ruleset(self) -> list[dict[str, Any]]:
        """Return all objects, ours and foreign, without set elements (libnftables-json(5))."""
        return _items(self.run(["list ruleset"], as_json=True))

    def table(self, family: str, name: str) -> list[dict[str, Any]]:
        """Return the objects in one table, with the elements of its sets."""
        text = self.run([f"list table {family} {name}"], as_json=True, terse=False)
        return [item for item in _items(text) if "metainfo" not in item]

    def run(self, commands: Iterable[str], *, as_json: bool = False, terse: bool = True) -> str:
        """Run the commands in one transaction; return what they print.

        JSON has the elements of sets only if it is not ``terse``.

        Raise the class of the kernel's errno, or ``ApiError`` with the text of nft.
        """
        script = "\n".join(commands)
        with self._lock:
            # The library opens further sockets when it needs them, so that every
            # call must be made inside the namespace.
            return in_netns(self._netns, lambda: self._in_here()(script, as_json, terse))

    def change(self, commands: Iterable[object]) -> bool:
        """Run the texts of commands that change something, in one transaction; return True."""
        self.run([str(command) for command in commands])
        return True

    def close(self) -> None:
        """Close the library's sockets; may be repeated."""
        with self._lock:
            self._runner = None

    def _in_here(self) -> Runner:
        if not _library_may_open():
            return _program
        if self._runner is None:
            self._runner = _library() or _program
        return self._runner


def _items(text: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(text)["nftables"])
    except ValueError as error:
        what = "nft printed damaged JSON, as its version 1.0.6 does for tables with a flag"
        raise ApiError(f"{what} (dormant, owner): {error}") from error


def _library() -> Runner | None:
    binding = _binding()
    if binding is None:
        return None
    try:
        with _alone:
            nft = binding.Nftables()
    except OSError:  # the binding is installed, the library is not
        return None

    def run_here(script: str, as_json: bool, terse: bool) -> str:
        with _alone:
            nft.set_json_output(as_json)
            nft.set_terse_output(as_json and terse)
            code, output, error = nft.cmd(script)
        if code != 0:
            raise _refused(error)
        return str(output)

    return run_here


def _library_may_open() -> bool:
    """Whether the next descriptors are such as the library can wait for.

    libmnl and libnftables wait with select(2), which ends the process where a descriptor is
    ``_FD_SETSIZE`` or greater.  Raise ``Exhausted`` if too few are free.
    """
    taken: list[int] = []
    try:
        # The system's own count of them would cost more: it is a file for each.
        taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        taken.extend(os.dup(taken[0]) for _ in range(SPARE - 1))
        return max(taken) < _FD_SETSIZE
    except OSError as error:
        raise error_for(
            error.errno or errno.EMFILE,
            "change the firewall",
            detail=f"fewer than {SPARE} descriptors are free: raise the limit (ulimit -n)",
        ) from None
    finally:
        for fd in taken:
            os.close(fd)


def _program(script: str, as_json: bool, terse: bool) -> str:
    if as_json:  # with --json, a script from a file must be JSON too
        brief = ["--terse"] if terse else []
        done = run(["nft", "--json", *brief, *script.split()], check=False)
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
    except OSError as error:
        raise error_for(error.errno or errno.EIO, "load the module nftables") from error
    # Without the class it is another module of that name.
    return binding if hasattr(binding, "Nftables") else None


def _refused(said: str) -> ApiError:
    """Return the error for the text of nft: the kernel's text is last in its first line."""
    first = next((line for line in said.splitlines() if "Error" in line), said.strip())
    number = errno_in(first.partition(";")[0])  # a suggestion may follow
    if number is None and "does not exist" in first:
        # nft itself looks up elements of interval sets, and its error has no errno.
        number = errno.ENOENT
    if number is None:
        return ApiError(f"nft: {first}")
    return error_for(number, "change the firewall", detail=first)
