"""What a question to the fabric sends first: protocols and ports."""

from __future__ import annotations

from snnet.contract import PROTOCOLS, InvalidRequest

from .frames import Segment

_EPHEMERAL = 49153  # a client port of the dynamic range (RFC 6335, 6)


def opening(protocol: str | None, port: int | None) -> Segment:
    """Return the first packet of a connection."""
    check_port(protocol, port, needed=True)
    return Segment(protocol or "", _EPHEMERAL, port or 0)


def check_port(protocol: str | None, port: int | None, *, needed: bool = False) -> None:
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise InvalidRequest(f"protocol {protocol!r} is not one of {known}", field="protocol")
    if port is None and not needed:
        return
    if type(port) is not int or not 0 < port < 2**16:
        raise InvalidRequest(f"{port!r} is not a port from 1 to 65535", field="port")
