"""The command line and the files of dnsmasq, as pure text.

Options are those of dnsmasq(8).  The command line contains what only a restart can
change; everything else is in files that dnsmasq reads again on SIGHUP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from socket import inet_ntoa

from snnet.contract import DhcpLease, DhcpScope, InvalidRequest, IPAddress, IPNetwork
from snnet.contract.addresses import IPV4_MAC, gateway_of, is_address, of_family
from snnet.contract.dhcp import check_scope, new_entries

from .account import Account

HOSTS, NAMES, SERVERS, LEASES, PID = "hosts", "names", "servers", "leases", "pid"
"""The files of dnsmasq in the folder of a scope."""

LEASE_TIME = "12h"
"""Leases are static; their time limits how late guests see a new MTU or name server."""

RA_INTERVAL, RA_LIFETIME = 60, 1800
"""Seconds between router advertisements, and for how long guests keep the router by one
(RFC 4861, 6.2.1).  A guest that asks is answered at once."""

_LEASES_MAX = 65536

_LINK = re.compile(
    r"[A-Za-z0-9_.-]{1,15}"
)  # no comma, no trailing *: they have a meaning to dnsmasq
_NO_HOSTNAME = re.compile(r"ignore|infinite|[0-9]+[smhdw]?", re.IGNORECASE)


def command_line(scope: DhcpScope, folder: Path, account: Account) -> list[str]:
    """Return the command that serves the scope from its folder, in the background.

    ``--bind-dynamic`` and ``--bind-interfaces`` both bind the DHCP socket to one device, so
    that many servers can run in a namespace.  Only the former also refuses DNS queries that
    arrive elsewhere.  There is no ``--resolv-file``: watching it takes one of the user's 128
    inotify instances (fs.inotify.max_user_instances).
    """
    argv = [
        "dnsmasq",
        f"--pid-file={folder / PID}",
        "--conf-file=/dev/null",
        f"--user={account.user}",
        f"--group={account.group}",
        f"--interface={scope.link}",
        "--except-interface=lo",
        "--bind-dynamic",
        *map(_range, scope.subnets),
        f"--dhcp-lease-max={_leases(scope)}",
        f"--dhcp-hostsfile={folder / HOSTS}",
        f"--dhcp-leasefile={folder / LEASES}",
        # The only server on this link: it may refuse leases that others gave.
        "--dhcp-authoritative",
        "--dhcp-ignore=tag:!known",
        # Guests are known by their MAC, which is checked where their frames enter.  With the
        # client id of another guest (RFC 2132, 9.14), one could give up that guest's lease.
        "--dhcp-ignore-clid",
        # Names resolve to what their entries say, not to a guest that asks for the name.
        "--dhcp-ignore-names",
        # A static address has one user: do not wait 3 s for a ping.
        "--no-ping",
        *(option for subnet in scope.subnets for option in _OPTIONS[subnet.version](scope, subnet)),
    ]
    if not scope.dns:
        return [*argv, "--port=0", *([f"--domain={scope.domain}"] if scope.domain else [])]
    argv += [
        "--no-hosts",
        f"--addn-hosts={folder / NAMES}",
        "--no-resolv",
        f"--servers-file={folder / SERVERS}",
        "--domain-needed",
        "--bogus-priv",
    ]
    if scope.domain:
        argv += [f"--domain={scope.domain}", f"--local=/{scope.domain}/", "--expand-hosts"]
    return argv


def _range(subnet: IPNetwork) -> str:
    """Return the option to serve a network to known MACs only."""
    size = str(subnet.netmask) if subnet.version == 4 else str(subnet.prefixlen)
    return f"--dhcp-range={subnet.network_address},static,{size},{LEASE_TIME}"


def _leases(scope: DhcpScope) -> int:
    """Return the highest number of leases: of every IPv4 address, or as many IPv6 ones."""
    return sum(min(subnet.num_addresses, _LEASES_MAX) for subnet in scope.subnets)


def _by_dhcp(scope: DhcpScope, subnet: IPNetwork) -> list[str]:
    """What guests are told by DHCP."""
    gateway = gateway_of(subnet)
    return [
        f"--dhcp-option=option:router,{gateway}",
        *([f"--dhcp-option=option:dns-server,{gateway}"] if scope.dns else ()),
        # Forced: many clients use the MTU without asking for it.
        f"--dhcp-option-force=option:mtu,{scope.mtu}",
    ]


def _by_advertisements(scope: DhcpScope, subnet: IPNetwork) -> list[str]:
    """What guests are told by router advertisements and DHCPv6.

    With a static range dnsmasq sets the flags M and O, and not A for the prefix.  The name
    server is in DHCPv6, and in the advertisements as RDNSS (RFC 8106).
    """
    return [
        "--enable-ra",
        f"--ra-param={scope.link},mtu:{scope.mtu},{RA_INTERVAL},{RA_LIFETIME}",
        *([f"--dhcp-option=option6:dns-server,[{gateway_of(subnet)}]"] if scope.dns else ()),
    ]


_OPTIONS = {4: _by_dhcp, 6: _by_advertisements}
"""By IP version."""


def hosts(scope: DhcpScope) -> str:
    """Return the text for ``--dhcp-hostsfile``: one static lease a line."""
    added = [
        ",".join(filter(None, (entry.mac, _bracketed(entry.address), entry.hostname)))
        for entry in scope.entries
    ]
    # Without an object for each: there are thousands of them.
    generated = [
        f"{IPV4_MAC}{(packed := number.to_bytes(4, 'big')).hex(':')},{inet_ntoa(packed)}"
        for number in scope.generated()
    ]
    return "".join([f"{line}\n" for line in (*added, *generated)])


def _bracketed(address: IPAddress) -> str:
    return str(address) if address.version == 4 else f"[{address}]"


def names(scope: DhcpScope) -> str:
    """Return the text for ``--addn-hosts``: names resolve before their guests have a lease."""
    return "".join(
        f"{entry.address} {entry.hostname}\n" for entry in scope.entries if entry.hostname
    )


def servers(addresses: Iterable[str]) -> str:
    """Return the text for ``--servers-file``."""
    return "".join(f"server={server}\n" for server in addresses)


def held_leases(text: str, scope: DhcpScope) -> Iterator[DhcpLease]:
    """Yield the leases in dnsmasq's lease file.

    A line has expiry (0: never), MAC, address, host name (*: none) and client id; after a
    line that begins with "duid", leases of IPv6 have an IAID in place of the MAC.
    """
    macs = {entry.address: entry.mac for entry in scope.entries if entry.address.version == 6}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[0].isdecimal() or not is_address(words[2]):
            continue
        address = ip_address(words[2])
        yield DhcpLease(
            link=scope.link,
            address=address,
            mac=words[1].lower() if address.version == 4 else macs.get(address, ""),
            hostname=None if words[3] == "*" else words[3],
            expires=float(words[0]) or None,
        )


def kept_leases(leases: str, scope: DhcpScope, old: DhcpScope) -> str:
    """Return the lines of dnsmasq's lease file that the scope still has a lease for.

    ``old`` is the scope that they were given by.  A line is expiry, MAC, address, name and
    client id; one of an IPv6 address has a number of the client's in place of the MAC.  The
    line "duid" is the server's own id.  Names that guests chose, before dnsmasq was started
    to ignore them, are left out.
    """
    wrong = _moved(leases, scope, old)
    ipv6 = of_family(scope.subnets, 6) is not None
    names = {str(entry.address): entry.hostname for entry in scope.entries}
    return "".join(
        f"{_with_name(line, names)}\n"
        for line in leases.splitlines()
        if line not in wrong and (len(line.split()) > 2 or (line.startswith("duid ") and ipv6))
    )


def _with_name(line: str, names: Mapping[str, str | None]) -> str:
    """Return the line of a lease with the name that its address has."""
    words = line.split()
    if len(words) > 3:
        words[3] = names.get(words[2]) or "*"
    return " ".join(words)


def is_contradicted(leases: str, scope: DhcpScope, old: DhcpScope) -> bool:
    """Whether a guest holds an address that the scope now gives to another guest.

    dnsmasq would hold the address back until that lease ends; only a restart drops it.
    """
    moved = {line.split()[2] for line in _moved(leases, scope, old)}
    return bool(moved) and not moved.isdisjoint(str(entry.address) for entry in scope.leases())


def _moved(leases: str, scope: DhcpScope, old: DhcpScope) -> set[str]:
    """The lines about addresses that the scope does not give to the guest that holds them."""
    if not any(len(line.split()) > 2 for line in leases.splitlines()):
        return set()
    now, before = (
        {str(entry.address): entry.mac.lower() for entry in one.leases()} for one in (scope, old)
    )
    moved = set()
    for line in leases.splitlines():
        words = line.split()
        if len(words) < 3:  # the server's id
            continue
        holder = before.get(words[2], "") if ":" in words[2] else words[1]
        if now.get(words[2]) != holder:
            moved.add(line)
    return moved


def check(scope: DhcpScope, good: DhcpScope | None = None) -> None:
    """Raise ``InvalidRequest`` for values that dnsmasq would misread or cannot serve.

    ``good`` as in ``check_scope``.
    """
    check_scope(scope, good)
    if not _LINK.fullmatch(scope.link):
        raise InvalidRequest(
            f"{scope.link!r} is not a bridge name that dnsmasq can serve", field="link"
        )
    for entry in new_entries(scope, good):
        if entry.hostname is not None and _NO_HOSTNAME.fullmatch(entry.hostname):
            raise InvalidRequest(
                f"dnsmasq takes the host name {entry.hostname!r} for a lease time", field="entries"
            )
