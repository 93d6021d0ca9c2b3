"""The sockets that listen in a network namespace, and the programs that have them.

From the tables of /proc/net (proc_net(5)): TCP sockets in state LISTEN, UDP sockets without
a peer, and endpoints of SCTP.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

from snnet.contract import IPAddress, Listener

from .netns import in_netns

_TABLES = Path("/proc/thread-self/net")
_LISTEN, _UNCONNECTED = "0A", "07"  # TCP_LISTEN, TCP_CLOSE: net/tcp_states.h
_STATES = {"tcp": _LISTEN, "tcp6": _LISTEN, "udp": _UNCONNECTED, "udp6": _UNCONNECTED}
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class _Row(NamedTuple):
    protocol: str
    address: IPAddress | None
    port: int
    inode: str


def listeners(netns: int) -> list[Listener]:
    """Return the sockets that listen in the namespace, each with the name of its program."""
    rows = in_netns(netns, lambda: [*_rows(), *_sctp()])
    owners = _owners({row.inode for row in rows})
    return [
        Listener(
            row.protocol,
            row.port,
            row.address,
            f"{owners.get(row.inode, 'a program')} on {row.address or '*'}:{row.port}",
        )
        for row in rows
    ]


def _rows() -> Iterator[_Row]:
    for table, state in _STATES.items():
        for line in _lines(table):
            words = line.split()
            address, _, port = words[1].partition(":")
            if words[3] == state:
                yield _Row(table[:3], _address(address), int(port, 16), words[9])


def _sctp() -> Iterator[_Row]:
    """Yield the endpoints: their addresses are at the end of the line, in the usual form."""
    for line in _lines("sctp/eps"):
        words = line.split()
        for text in words[8:] or ["0.0.0.0"]:
            with suppress(ValueError):
                ip = IPv6Address(text) if ":" in text else IPv4Address(text)
                yield _Row("sctp", None if ip.is_unspecified else ip, int(words[5]), words[7])


def _lines(table: str) -> list[str]:
    with suppress(OSError):  # without IPv6, or without the module
        return (_TABLES / table).read_text().splitlines()[1:]
    return []


def _address(text: str) -> IPAddress | None:
    """Return an address from words in the machine's byte order; None for every address."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    packed = b"".join(words)
    if not any(packed):
        return None
    if len(packed) == 4:
        return IPv4Address(packed)
    mapped = IPv6Address(packed)
    return mapped.ipv4_mapped or mapped


def _owners(inodes: set[str]) -> dict[str, str]:
    """Return the program and its pid for each socket; those of other users only as root."""
    found: dict[str, str] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for inode in _sockets(pid) & inodes:
            with suppress(OSError):  # it has just ended
                # Any bytes: the kernel cuts a name after 15, also within a character.
                name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
                found[inode] = f"{name} (pid {pid})"
    return found


def _sockets(pid: str) -> set[str]:
    """Return the sockets that a process has, as far as we may look."""
    found = set()
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if match := _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{fd}")):
                    found.add(match[1])
    return found
