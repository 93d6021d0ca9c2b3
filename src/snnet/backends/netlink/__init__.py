"""The default backend, which sends netlink messages to the kernel.

``backend`` is the driver; ``links``, ``taps``, ``removal``, ``addresses``,
``routes``, ``neighbours`` and ``sysctls`` each handle one kind of object;
``creation`` and ``found`` convert links to messages and back; ``encoder`` makes
messages, from what ``layouts`` knows of them, and is the only module that uses pyroute2.
"""

from .backend import NetlinkBackend

__all__ = ["NetlinkBackend"]
