"""``python -m benchmarks.traced FILE COMMAND...``: a command of snnet that notes what it does when.

A line of FILE is the time (time.monotonic, the same for all processes of a machine), how long
it took, and what it was.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import IO, Any

from snnet.agent import agent as agents
from snnet.agent import drift, statuses
from snnet.cli import main
from snnet.node import Cnci, ComputeNode
from snnet.registries import streams
from snnet.registries.etcd import EtcdRegistry

CALLS: tuple[tuple[Any, str, str], ...] = (
    (streams._OfSeveral, "_hand_out", "the watch tells, and is followed by a reading"),
    (streams._OfOne, "_hand_out", "the watch tells"),
    (EtcdRegistry, "written", "reading of what was written"),
    (EtcdRegistry, "commit", "commit"),
    (agents.Agent, "_reconcile", "round"),
    (agents, "host_wanted", "draft"),
    (ComputeNode, "reconcile", "kernel of the host"),
    (Cnci, "reconcile", "kernel of the concentrator"),
    (statuses.Statuses, "write", "what is said"),
    (drift.Drift, "watch", "alarms"),
    (drift.Drift, "look", "look for drift"),
)


def trace(file: IO[str]) -> None:
    """Note these calls from now on."""
    for owner, name, what in CALLS:
        setattr(owner, name, _noted(getattr(owner, name), what, file))


def _noted(function: Any, what: str, file: IO[str]) -> Any:
    @functools.wraps(function)
    def noted(*arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            file.write(f"{began:.6f} {time.monotonic() - began:.6f} {what}\n")

    return noted


if __name__ == "__main__":
    path, *command = sys.argv[1:]
    sys.argv[1:] = command
    with open(path, "a", buffering=1) as file:
        trace(file)
        main()
