"""Nodes: the compute node and the concentrator, safe to call from any thread.

A node is a flat face that makes calls (:mod:`snnet.node.calls`), and an engine that
runs them: claim, read, draft, apply, publish, tell.  The thinking is in
:mod:`snnet.core`, the doing in the drivers.
"""

from .cnci import Cnci
from .compute import ComputeNode

__all__ = ["Cnci", "ComputeNode"]
