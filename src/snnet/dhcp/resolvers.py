"""The name servers that guests' questions go on to: those of the server's namespace.

resolv.conf(5) of the host is not always that of the namespace: ip-netns(8) keeps one in
/etc/netns/NAME/resolv.conf, and a loopback address means another resolver in each namespace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from snnet.system.netns import NAMED, in_netns

RESOLV_CONF = Path("/etc/resolv.conf")
OF_NAMESPACES = Path("/etc/netns")
UPSTREAM = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved says which servers it asks itself (systemd-resolved(8))."""

_PROCESS_1, _THIS_PROCESS = "/proc/1/ns/net", "/proc/self/ns/net"
_SOCKETS = ("/proc/thread-self/net/udp", "/proc/thread-self/net/udp6")
_DNS = 53


@dataclass(frozen=True, slots=True)
class NameServers:
    """Those to ask, and those that are left out since they are another namespace's."""

    asked: tuple[str, ...]
    left_out: tuple[str, ...]
    path: Path


def name_servers(netns: int) -> NameServers:
    """Return the name servers of a namespace (a descriptor); raises ``OSError``.

    A loopback address from the host's file is asked if the namespace is the host's, or has a
    server there.  Without any other, those that systemd-resolved asks are taken.
    """
    name = name_of(netns)
    path = OF_NAMESPACES / name / "resolv.conf" if name else RESOLV_CONF
    if name and path.exists():
        return NameServers(tuple(_listed(path)), (), path)
    found = list(_listed(RESOLV_CONF))
    local = [server for server in found if _is_loopback(server)]
    if not local or _is_of_the_host(netns):
        return NameServers(tuple(found), (), RESOLV_CONF)
    served = in_netns(netns, _served)
    strange = [server for server in local if not _reaches(server, served)]
    asked = [server for server in found if server not in strange]
    if not asked:
        asked = [server for server in _listed(UPSTREAM) if not _is_loopback(server)]
    return NameServers(tuple(asked), tuple(strange), RESOLV_CONF)


def parse(text: str) -> Iterator[str]:
    """Yield the name servers in resolv.conf(5).

    Link-local addresses with a zone are left out: the zone is a link of the namespace in
    which the file was written.
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]:
            try:
                ip_address(words[1])
            except ValueError:
                continue
            yield words[1]


def name_of(netns: int) -> str | None:
    """Return the name that ip-netns(8) keeps of the namespace, or None."""
    mine = os.fstat(netns)
    try:
        names = sorted(os.listdir(NAMED))
    except OSError:
        return None
    for name in names:
        try:
            if os.path.samestat(os.stat(f"{NAMED}/{name}"), mine):
                return name
        except OSError:
            continue
    return None


def _listed(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return  # then guests only resolve the names of the scope
    yield from parse(text)


def _is_loopback(server: str) -> bool:
    return ip_address(server).is_loopback


def _is_of_the_host(netns: int) -> bool:
    """Whether the namespace is that of process 1.

    Where that may not be looked up: whether it is that of this process, without a name.
    """
    mine = os.fstat(netns)
    try:
        return os.path.samestat(os.stat(_PROCESS_1), mine)
    except OSError:
        return os.path.samestat(os.stat(_THIS_PROCESS), mine) and name_of(netns) is None


def _served() -> set[IPv4Address | IPv6Address]:
    """The addresses at which somebody listens for DNS in the calling thread's namespace."""
    found: set[IPv4Address | IPv6Address] = set()
    for path in _SOCKETS:
        try:
            lines = Path(path).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            address, _, port = line.split()[1].partition(":")
            if int(port, 16) == _DNS:
                found.add(_address(bytes.fromhex(address)))
    return found


def _address(raw: bytes) -> IPv4Address | IPv6Address:
    """The address in /proc/net/udp and udp6: words in the byte order of the host."""
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    packed = b"".join(word[::-1] if _LITTLE else word for word in words)
    return ip_address(packed)


_LITTLE = sys.byteorder == "little"


def _reaches(server: str, served: set[IPv4Address | IPv6Address]) -> bool:
    anywhere = ip_address("0.0.0.0" if ip_address(server).version == 4 else "::")
    return bool({ip_address(server), anywhere, ip_address("::")} & served)
