"""What systemd is told of a service, by the protocol of sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Tell the service manager; without one that listens nothing is done.

    Lines are such as "READY=1" and "WATCHDOG=1".
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # "@" stands for the abstract namespace of unix(7).
    address = "\0" + path[1:] if path.startswith("@") else path
    # The variable may be left of another service; a manager that listens acts on silence itself.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto("\n".join(lines).encode(), address)
