"""A rig of network namespaces: veth pairs, Python sockets and the kernel's packet filter.

This process makes everything, and everything ends with it: namespaces without names
and sockets in them.  No other process and no lasting thread is started.
"""

from .rig import RealRig

__all__ = ["RealRig"]
