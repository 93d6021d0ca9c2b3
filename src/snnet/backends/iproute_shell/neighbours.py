"""Permanent neighbours, proxy entries and forwarding entries."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

from snnet.backends.iproute2.commands import commands, displace
from snnet.contract import (
    Add,
    BridgeFdb,
    Change,
    Fdb,
    Link,
    Neighbour,
    ProxyNeighbour,
    Remove,
    Unsupported,
    Vxlan,
)
from snnet.contract.addresses import NO_MAC, is_mac

from .checks import check_neighbour
from .errors import Refused
from .links import Links
from .shell import Shell


class Neighbours:
    """The permanent neighbours of one network namespace."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def add(self, noun: Neighbour) -> None:
        check_neighbour(noun)
        try:
            self._shell.carry_out(commands(Add(noun)))
        except Refused as error:
            # Skip what the kernel has learned by itself.
            if error.number != errno.EEXIST or self.find(noun) is not None:
                raise
            self._shell.carry_out([displace(noun)])

    def change(self, new: Neighbour, old: Neighbour) -> None:
        check_neighbour(new)
        self._must_exist(old)
        self._shell.carry_out(commands(Change(new, old)))

    def remove(self, noun: Neighbour) -> None:
        self._must_exist(noun)
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Neighbour) -> Neighbour | None:
        link, address = noun.link, noun.address
        words = _words(self._shell, "get", str(address), "dev", link)
        if "PERMANENT" not in words or _after(words, "dev") != link:
            return None
        return Neighbour(link=link, address=address, lladdr=_after(words, "lladdr"))

    def snapshot(self) -> list[Neighbour]:
        rows = self._shell.rows(["ip", "-json", "neighbour", "show", "nud", "permanent"])
        return [
            Neighbour(link=row["dev"], address=ip_address(row["dst"]), lladdr=row.get("lladdr", ""))
            for row in rows
        ]

    def _must_exist(self, noun: Neighbour) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ENOENT)


class Proxies:
    """The addresses that one network namespace answers for on a link."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def add(self, noun: ProxyNeighbour) -> None:
        # pneigh_create (net/core/neighbour.c) succeeds for an existing entry, whatever
        # the flags say.
        if self.find(noun) is not None:
            raise Refused(errno.EEXIST)
        self._shell.carry_out(commands(Add(noun)))

    def remove(self, noun: ProxyNeighbour) -> None:
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: ProxyNeighbour) -> ProxyNeighbour | None:
        link, address = noun.link, noun.address
        words = _words(self._shell, "get", "proxy", str(address), "dev", link)
        if _after(words, "dev") != link:
            return None
        protocol = int(_after(words, "proto") or 0)
        return ProxyNeighbour(link=link, address=address, protocol=protocol)

    def snapshot(self) -> list[ProxyNeighbour]:
        rows = self._shell.rows(["ip", "-json", "-Numeric", "neighbour", "show", "proxy"])
        return [
            ProxyNeighbour(
                link=row["dev"],
                address=ip_address(row["dst"]),
                protocol=int(row.get("protocol", 0)),
            )
            for row in rows
        ]


class ForwardingEntries:
    """The permanent forwarding entries of the vxlans of one network namespace.

    The entry that the kernel adds for the ``remote`` of a vxlan is part of the vxlan.
    """

    def __init__(self, shell: Shell, links: Links) -> None:
        self._shell = shell
        self._links = links

    def add(self, noun: Fdb) -> None:
        self._check(noun)
        if noun.mac == NO_MAC:
            # Appending succeeds for a remote that is there already (vxlan_fdb_append).
            link = self._links.look_up(noun.link)
            if self.find(noun) is not None or getattr(link, "remote", None) is not None:
                raise Refused(errno.EEXIST)
        self._shell.carry_out(commands(Add(noun)))

    def change(self, new: Fdb, old: Fdb) -> None:
        self._must_exist(old)
        if new.mac == NO_MAC:  # vxlan_fdb_update_existing, drivers/net/vxlan/vxlan_core.c
            raise Refused(errno.EOPNOTSUPP, "only an entry for one MAC can be replaced")
        self._check(new)
        self._shell.carry_out(commands(Change(new, old)))

    def remove(self, noun: Fdb) -> None:
        # For an entry with another remote the kernel reports success and does nothing
        # (__vxlan_fdb_delete, drivers/net/vxlan/vxlan_core.c).
        if self.find(noun) != noun:
            raise Refused(errno.ENOENT)
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Fdb) -> Fdb | None:
        vxlan = self._links.find(Link(name=noun.link))
        if not isinstance(vxlan, Vxlan) or not is_mac(noun.mac.lower()):
            return None
        argv = ["bridge", "-json", "fdb", "get", noun.mac, "dev", noun.link, "self"]
        if noun.mac == NO_MAC:  # the kernel would answer with the first remote alone
            argv = ["bridge", "-json", "fdb", "show", "dev", noun.link]
        try:
            rows = self._shell.rows(argv)
        except Refused as error:
            if error.number != errno.ENOENT:
                raise
            return None
        entries = (found for row in rows if (found := _entry(row, vxlan)))
        return next((found for found in entries if found.key == noun.key), None)

    def snapshot(self) -> list[Fdb]:
        vxlans = {link.name: link for link in self._links.snapshot() if isinstance(link, Vxlan)}
        if not vxlans:  # bridges may hold any number of learned entries
            return []
        return [
            noun
            for row in self._shell.rows(["bridge", "-json", "fdb", "show"])
            if (vxlan := vxlans.get(row.get("ifname", ""))) is not None
            and (noun := _entry(row, vxlan)) is not None
        ]

    def _must_exist(self, noun: Fdb) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ENOENT)

    def _check(self, noun: Fdb) -> None:
        link = self._links.look_up(noun.link)
        if not isinstance(link, Vxlan):
            raise Unsupported(f"{noun.link} is a {link.kind}: only vxlans have forwarding entries")
        if not is_mac(noun.mac.lower()):
            raise Refused(errno.EINVAL, f"{noun.mac!r} is not a MAC")


class BridgeEntries:
    """The static entries that bridges of one network namespace have for ports that are vxlans."""

    def __init__(self, shell: Shell, links: Links) -> None:
        self._shell = shell
        self._links = links

    def add(self, noun: BridgeFdb) -> None:
        self._check(noun)
        try:
            self._shell.carry_out(commands(Add(noun)))
        except Refused as error:
            if error.number != errno.EEXIST:
                raise
            row = self._look_up(noun)
            # A port's own MAC stays.  What the bridge has learned of this MAC gives way.
            if row.get("state") == "permanent" or _is_static(row, noun.link):
                raise
            self._shell.carry_out([displace(noun)])

    def remove(self, noun: BridgeFdb) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ENOENT)
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: BridgeFdb) -> BridgeFdb | None:
        link = self._links.find(Link(name=noun.link))
        if not isinstance(link, Vxlan) or link.master is None or not is_mac(noun.mac.lower()):
            return None
        return noun if _is_static(self._look_up(noun), noun.link) else None

    def snapshot(self) -> list[BridgeFdb]:
        links = self._links.snapshot()
        ports = {link.name for link in links if isinstance(link, Vxlan) and link.master}
        if not ports:  # bridges may hold any number of learned entries
            return []
        return [
            BridgeFdb(link=row["ifname"], mac=row["mac"])
            for row in self._shell.rows(["bridge", "-json", "fdb", "show"])
            if row.get("ifname") in ports and _is_static(row, row["ifname"])
        ]

    def _look_up(self, noun: BridgeFdb) -> dict[str, Any]:
        """Return the entry that the bridge of the port has for the MAC, empty without one."""
        argv = ["bridge", "-json", "fdb", "get", noun.mac, "dev", noun.link, "master"]
        try:
            rows = self._shell.rows(argv)
        except Refused as error:
            if error.number != errno.ENOENT:
                raise
            return {}
        return rows[0] if rows else {}

    def _check(self, noun: BridgeFdb) -> None:
        link = self._links.look_up(noun.link)
        if not isinstance(link, Vxlan) or link.master is None:
            raise Unsupported(f"{noun.link} is not a vxlan that is the port of a bridge")
        if not is_mac(noun.mac.lower()) or noun.mac == NO_MAC:
            raise Refused(errno.EINVAL, f"{noun.mac!r} is not a MAC")


def _is_static(row: dict[str, Any], link: str) -> bool:
    """Whether this is a static entry of a bridge for its port ``link``."""
    own = "self" in row.get("flags", ())
    return row.get("state") == "static" and row.get("ifname") == link and not own


def _entry(row: dict[str, Any], vxlan: Vxlan) -> Fdb | None:
    if row.get("state") != "permanent" or "self" not in row.get("flags", ()) or "dst" not in row:
        return None
    remote, mac = ip_address(row["dst"]), row["mac"]
    if (mac, remote) == (NO_MAC, vxlan.remote):
        return None
    return Fdb(link=vxlan.name, mac=mac, remote=remote)


def _words(shell: Shell, *argv: str) -> list[str]:
    """Return one entry as words: before iproute2 6.2 ``ip neighbour get`` has no JSON.

    The list is empty if there is no entry (ENOENT).
    """
    try:
        return shell.ask(["ip", "-Numeric", "neighbour", *argv]).split()
    except Refused as error:
        if error.number != errno.ENOENT:
            raise
        return []


def _after(words: list[str], name: str) -> str:
    """Return the word that follows this one, or an empty string."""
    position = words.index(name) + 1 if name in words else len(words)
    return words[position] if position < len(words) else ""
