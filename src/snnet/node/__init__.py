"""Nodes: the compute node and the concentrator, safe to call from any thread.

A node has one method for each call (:mod:`snnet.node.calls`), and an engine that runs
calls: claim, read, draft, ask, apply, publish, tell.  The pure decisions are in
:mod:`snnet.core`; drivers change the host.
"""

from .cnci import Cnci
from .compute import ComputeNode

__all__ = ["Cnci", "ComputeNode"]
