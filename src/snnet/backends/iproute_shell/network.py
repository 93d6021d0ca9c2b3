"""Addresses on links, unicast routes of the main table and of snnet's own, and paths."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from snnet.backends.iproute2.commands import Command, commands
from snnet.contract import Add, Address, Change, Path, PolicyRule, Remove, Route
from snnet.contract.network import (
    DADFAILED,
    MAIN_TABLE,
    OWN_TABLES,
    SECONDARY,
    SNNET_PROTOCOL,
    TEMPORARY,
    TENTATIVE,
    is_automatic,
)

from .checks import check_route
from .errors import Refused
from .shell import Rows, Shell

_FAMILIES = {4: "-4", 6: "-6"}
_KERNEL, _BOOT = 2, 3  # rtm_protocol, linux/rtnetlink.h; ``ip`` does not print boot
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
_PECULIAR = frozenset({"type", "tos", "from", "src", "nexthops"})
"""Fields that ``ip`` prints only for routes that no noun can describe: those of another
type than unicast, for a source or a type of service, or with several next hops."""
_FLAGS = (SECONDARY, TEMPORARY, TENTATIVE, DADFAILED)
_DEFAULT_METRIC = {4: 0, 6: 1024}  # IP6_RT_PRIO_USER, net/ip6_route.h


class Addresses:
    """The addresses of one network namespace."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def add(self, noun: Address) -> None:
        self._shell.carry_out(commands(Add(noun)))

    def remove(self, noun: Address) -> None:
        try:
            self._shell.carry_out(commands(Remove(noun)))
        except Refused as error:
            if error.number != errno.EACCES:
                raise
            # On a link without IPv6 the kernel's message is that for adding an address,
            # but here it stands for ENXIO (inet6_addr_del, net/ipv6/addrconf.c).
            raise Refused(errno.ENXIO, error.said) from error

    def find(self, noun: Address) -> Address | None:
        family = _FAMILIES[noun.address.version]
        listed = self._listed(["ip", family, "-json", "address", "show", "dev", noun.link])
        return next((found for found in listed if found.key == noun.key), None)

    def snapshot(self) -> list[Address]:
        """Return all except those that the kernel adds to every link."""
        return [
            noun
            for noun in self._listed(["ip", "-json", "address", "show"])
            if not is_automatic(noun.address)
        ]

    def _listed(self, argv: Command) -> list[Address]:
        return [
            Address(
                link=row["ifname"],
                address=ip_interface(f"{entry['local']}/{entry['prefixlen']}"),
                deprecated=bool(entry.get("deprecated")),
                flags=tuple(flag for flag in _FLAGS if entry.get(flag)),
            )
            for row in self._shell.rows(argv)
            for entry in row.get("addr_info", ())
            if "local" in entry  # not an empty object, nor one of another family
        ]


class Routes:
    """The routes of one network namespace."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def add(self, noun: Route) -> None:
        check_route(noun)
        self._shell.carry_out(commands(Add(noun)))

    def change(self, new: Route, old: Route) -> None:
        check_route(new)
        self._must_exist(old)
        self._shell.carry_out(commands(Change(new, old)))

    def remove(self, noun: Route) -> None:
        # The kernel would remove a route with any metric.
        self._must_exist(noun)
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Route) -> Route | None:
        listed = self._listed(noun.destination.version, noun.link)
        return next((route for route in listed if route.key == noun.key), None)

    def snapshot(self) -> list[Route]:
        return [route for version in _FAMILIES for route in self._listed(version)]

    def of(self, protocol: int) -> list[Route]:
        """Return the routes of one protocol."""
        return [
            route for version in _FAMILIES for route in self._listed(version, protocol=protocol)
        ]

    def _must_exist(self, noun: Route) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ESRCH)

    def _listed(
        self, version: int, link: str | None = None, protocol: int | None = None
    ) -> Iterator[Route]:
        """Yield the routes that a noun can describe, without those that addresses create."""
        argv = ["ip", _FAMILIES[version], "-json", "-Numeric", "route", "show", "table", "all"]
        if link is not None:
            argv += ["dev", link]
        if protocol is not None:
            argv += ["proto", str(protocol)]
        # ``ip`` omits what it filters by.
        yield from _routes(
            self._shell.rows(argv), version, link, _BOOT if protocol is None else protocol
        )


def _routes(rows: Rows, version: int, link: str | None, unsaid: int) -> Iterator[Route]:
    for row in rows:
        protocol = int(row.get("protocol", unsaid))
        table = int(row.get("table", MAIN_TABLE))
        plain = _PECULIAR.isdisjoint(row) and (table == MAIN_TABLE or table in OWN_TABLES)
        if not plain or protocol == _KERNEL or row.get("metric", 0) != _DEFAULT_METRIC[version]:
            continue
        yield Route(
            destination=ip_network(_EVERYTHING[version] if row["dst"] == "default" else row["dst"]),
            link=row["dev"] if link is None else link,
            gateway=ip_address(row["gateway"]) if "gateway" in row else None,
            onlink="onlink" in row.get("flags", ()),
            protocol=protocol,
            table=table,
        )


class Policies:
    """The rules of snnet in one network namespace."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def add(self, noun: PolicyRule) -> None:
        if self.find(noun) is not None:  # "ip" does not ask for a new one
            raise Refused(errno.EEXIST)
        self._shell.carry_out(commands(Add(noun)))

    def remove(self, noun: PolicyRule) -> None:
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: PolicyRule) -> PolicyRule | None:
        listed = self._listed(noun.source.version)
        return next((found for found in listed if found.key == noun.key), None)

    def snapshot(self) -> list[PolicyRule]:
        return [noun for version in _FAMILIES for noun in self._listed(version)]

    def _listed(self, version: int) -> Iterator[PolicyRule]:
        for row in self._shell.rows(
            ["ip", _FAMILIES[version], "-json", "-Numeric", "rule", "show"]
        ):
            if str(row.get("protocol")) != str(SNNET_PROTOCOL) or "src" not in row:
                continue
            length = row.get("srclen", 32 if version == 4 else 128)
            yield PolicyRule(
                source=ip_network(f"{row['src']}/{length}"),
                table=int(row["table"]),
                priority=int(row["priority"]),
                specific=row.get("suppress_prefixlen") == 0,
            )


class Paths:
    """How the kernel would route to an address.  Only read."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def find(self, noun: Path) -> Path | None:
        remote = noun.remote
        try:
            rows = self._shell.rows(["ip", "-json", "route", "get", str(remote)])
        except Refused as error:
            if error.number not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
            return None
        if not rows or "prefsrc" not in rows[0]:
            return None
        return Path(remote=remote, link=rows[0]["dev"], source=ip_address(rows[0]["prefsrc"]))

    def snapshot(self) -> list[Path]:
        return []
