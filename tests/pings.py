"""Whether a real guest or host reaches an address."""

from __future__ import annotations

from snnet.system.namespaces import Namespace
from snnet.system.process import run


def pings(space: Namespace, address: object, size: int = 56, patience: int = 10) -> bool:
    """Whether a ping of ``size`` data bytes is answered within ``patience`` seconds.

    A bridge takes frames up to a second after the carrier of a new port (net/core/link_watch.c).
    """
    argv = ["ping", "-c1", f"-w{patience}", "-M", "do", "-s", str(size), str(address)]
    return run(argv, netns=space.fd, check=False, timeout=patience + 20).returncode == 0
