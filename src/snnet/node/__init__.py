"""Nodes: the compute node and the concentrator, safe to call from any thread.

A call checks its request, claims what it works on, plans, applies, and
publishes what came of it.  The thinking is in :mod:`snnet.core`, the doing in
the drivers.
"""

from .cnci import Cnci
from .vnics import ComputeNode

__all__ = ["Cnci", "ComputeNode"]
