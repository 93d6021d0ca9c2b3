"""The default backend: netlink messages straight to the kernel.

``backend`` is the driver; ``links``, ``taps``, ``removal``, ``addresses``,
``routes``, ``neighbours`` and ``sysctls`` each know one kind of object;
``creation`` and ``found`` turn links into messages and back; ``encoder`` is
the only module that knows pyroute2.
"""

from .backend import NetlinkBackend

__all__ = ["NetlinkBackend"]
