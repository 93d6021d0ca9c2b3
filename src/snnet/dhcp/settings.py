"""What dnsmasq is told: its command line and its files, as pure text.

Options are those of dnsmasq(8).  The command line carries what only a restart
can change; all the rest is in files that dnsmasq reads again on SIGHUP.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from snnet.contract import DhcpScope, InvalidRequest
from snnet.contract.dhcp import check_scope

from .account import Account

HOSTS, NAMES, SERVERS, LEASES, PID = "hosts", "names", "servers", "leases", "pid"
"""The files in a scope's folder that dnsmasq knows."""

LEASE_TIME = "12h"
"""Leases are static; their time says how soon guests see a new MTU or name server."""

_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # no comma, no trailing *: dnsmasq reads those
_NO_HOSTNAME = re.compile(r"ignore|infinite|[0-9]+[smhdw]?", re.IGNORECASE)


def command_line(scope: DhcpScope, folder: Path, account: Account) -> list[str]:
    """The command that serves the scope from its folder and goes to the background.

    ``--bind-dynamic`` rather than ``--bind-interfaces``: both bind the DHCP
    socket to the one device, so that many servers live in one namespace, but
    only the former also refuses DNS queries that came in elsewhere.  No
    ``--resolv-file``: each watcher of it costs one of the 128 inotify
    instances a user has (fs.inotify.max_user_instances).
    """
    subnet, gateway = scope.subnet, scope.gateway
    argv = [
        "dnsmasq",
        f"--pid-file={folder / PID}",
        "--conf-file=/dev/null",
        f"--user={account.user}",
        f"--group={account.group}",
        f"--interface={scope.link}",
        "--except-interface=lo",
        "--bind-dynamic",
        f"--dhcp-range={subnet.network_address},static,{subnet.netmask},{LEASE_TIME}",
        f"--dhcp-lease-max={subnet.num_addresses}",
        f"--dhcp-hostsfile={folder / HOSTS}",
        f"--dhcp-leasefile={folder / LEASES}",
        # The only server on this link: a guest that kept an old lease gets a clear answer.
        "--dhcp-authoritative",
        "--dhcp-ignore=tag:!known",
        # A static address is nobody else's: do not wait 3 s for a ping.
        "--no-ping",
        f"--dhcp-option=option:router,{gateway}",
        f"--dhcp-option=option:dns-server,{gateway}",
        # Forced: many clients obey the MTU and yet do not ask for it.
        f"--dhcp-option-force=option:mtu,{scope.mtu}",
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


def hosts(scope: DhcpScope) -> str:
    """For ``--dhcp-hostsfile``: a static lease a line."""
    return "".join(
        ",".join(filter(None, (entry.mac, str(entry.address), entry.hostname))) + "\n"
        for entry in scope.leases()
    )


def names(scope: DhcpScope) -> str:
    """For ``--addn-hosts``: names are known before their guests ask for a lease."""
    return "".join(
        f"{entry.address} {entry.hostname}\n" for entry in scope.entries if entry.hostname
    )


def servers(resolv_conf: str) -> str:
    """For ``--servers-file``: the name servers that resolv.conf(5) lists.

    A link-local one with a zone is left out: the zone is a link of the
    namespace in which that file was written.
    """
    lines = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            lines.append(f"server={words[1]}\n")
    return "".join(lines)


def kept_leases(leases: str, scope: DhcpScope) -> str:
    """Those lines of dnsmasq's lease file that the scope still stands for.

    A line is expiry, MAC, address, name and client id.
    """
    valid = {(entry.mac.lower(), str(entry.address)) for entry in scope.leases()}
    return "".join(f"{line}\n" for line in leases.splitlines() if tuple(line.split()[1:3]) in valid)


def is_contradicted(leases: str, scope: DhcpScope) -> bool:
    """Whether somebody holds an address that the scope now gives to somebody else.

    dnsmasq would keep the address back until that lease ends; it forgets a
    lease in a restart only.
    """
    macs = {str(entry.address): entry.mac.lower() for entry in scope.leases()}
    held = (line.split()[1:3] for line in leases.splitlines())
    return any(len(pair) == 2 and macs.get(pair[1], pair[0]) != pair[0] for pair in held)


def check(scope: DhcpScope) -> None:
    """Raise ``InvalidRequest`` for what dnsmasq would misread or nobody could serve."""
    check_scope(scope)
    if not _LINK.fullmatch(scope.link):
        raise InvalidRequest(f"{scope.link!r} is no name of a bridge", field="link")
    for entry in scope.entries:
        if entry.hostname is not None and _NO_HOSTNAME.fullmatch(entry.hostname):
            raise InvalidRequest(
                f"dnsmasq takes the host name {entry.hostname!r} for a lease time", field="entries"
            )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
