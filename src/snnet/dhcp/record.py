"""What a scope's folder says about it, so that the next process knows it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from snnet.contract import DhcpEntry, DhcpScope

RECORD = "scope.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A scope, and the ifindex of the bridge it was started on.

    dnsmasq's socket is bound to that very bridge: one made anew under the same
    name has another index, and dnsmasq is deaf on it.
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
                "subnet": str(scope.subnet),
                "mtu": scope.mtu,
                "reserved": scope.reserved,
                "domain": scope.domain,
                "entries": [[e.mac, str(e.address), e.hostname] for e in scope.entries],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Raises ``ValueError`` for anything that is no record of this version."""
        try:
            data = json.loads(text)
            if data["version"] != _VERSION:
                raise ValueError(f"version {data['version']}")
            scope = DhcpScope(
                owner=data["owner"],
                link=data["link"],
                subnet=IPv4Network(data["subnet"]),
                mtu=data["mtu"],
                reserved=data["reserved"],
                domain=data["domain"],
                entries=tuple(
                    DhcpEntry(mac=mac, address=IPv4Address(address), hostname=hostname)
                    for mac, address, hostname in data["entries"]
                ),
            )
            return cls(data["index"], scope)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of a scope: {error!r}") from error
