"""A rig of network namespaces: veth pairs, Python sockets, the kernel's own packet filter.

Everything is made by this process and vanishes with it: namespaces without a
name, sockets in them, no other process and no thread that lasts.
"""

from .rig import RealRig

__all__ = ["RealRig"]
