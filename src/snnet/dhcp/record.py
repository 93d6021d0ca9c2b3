"""The file in a scope's folder from which a later process reads the scope back."""

from __future__ import annotations

import json
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
        return json.dumps(
            {
                "version": _VERSION,
                "owner": scope.owner,
                "index": self.index,
                "link": scope.link,
                "subnets": [str(subnet) for subnet in scope.subnets],
                "mtu": scope.mtu,
                "reserved": scope.reserved,
                "domain": scope.domain,
                "entries": [[e.mac, str(e.address), e.hostname] for e in scope.entries],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ScopeRecord:
        """Parse a record; raise ``ValueError`` for anything else or another version."""
        try:
            data = json.loads(text)
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
                entries=tuple(
                    DhcpEntry(mac=mac, address=ip_address(address), hostname=hostname)
                    for mac, address, hostname in data["entries"]
                ),
            )
            return cls(data["index"], scope)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record of a scope: {error!r}") from error
