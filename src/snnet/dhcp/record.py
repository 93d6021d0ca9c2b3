"""The file in a scope's folder from which a later process reads the scope back.

Its first line is a JSON object.  Each further line is an entry that was added later; one
without its line break was being written when the writer was killed, and counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from snnet.contract import DhcpEntry, DhcpScope

SCOPE_FILE = "scope.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """A scope, and the ifindex of the bridge that it was started on.

    The socket of dnsmasq is bound to that very bridge.  A recreated bridge of the same name
    has another index, and dnsmasq receives nothing from it.
    """

    index: int
    scope: DhcpScope

    def to_json(self) -> str:
        scope = self.scope
        return (
            json.dumps(
                {
                    "version": _VERSION,
                    "owner": scope.owner,
                    "index": self.index,
                    "link": scope.link,
                    "subnets": [str(subnet) for subnet in scope.subnets],
                    "mtu": scope.mtu,
                    "reserved": scope.reserved,
                    "domain": scope.domain,
                    "dns": scope.dns,
                    "entries": [_row(entry) for entry in scope.entries],
                }
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> ScopeRecord:
        """Parse a record; raise ``ValueError`` for anything else or another version.

        ``text`` is the whole file.
        """
        try:
            first, *added = text.split("\n")
            data = json.loads(first)
            rows = [*data["entries"], *map(json.loads, added[:-1])]
            if data["version"] != _VERSION:
                raise ValueError(f"version {data['version']}")
            scope = DhcpScope(
                owner=data["owner"],
                link=data["link"],
                # A record of an earlier snnet has a single subnet.
                subnets=tuple(map(ip_network, data.get("subnets") or [data["subnet"]])),
                mtu=data["mtu"],
                reserved=data["reserved"],
                domain=data["domain"],
                dns=data.get("dns", True) is not False,
                entries=tuple(
                    DhcpEntry(mac=mac, address=ip_address(address), hostname=hostname)
                    for mac, address, hostname in rows
                ),
            )
            return cls(data["index"], scope)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record of a scope: {error!r}") from error


def more(entries: Iterable[DhcpEntry]) -> str:
    """Return the lines that add entries to the text of a record."""
    return "".join(f"{json.dumps(_row(entry))}\n" for entry in entries)


def _row(entry: DhcpEntry) -> list[str | None]:
    return [entry.mac, str(entry.address), entry.hostname]
