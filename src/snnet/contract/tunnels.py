"""Tunnels: links that carry a subnet's frames, or a tenant's packets, between nodes.

Each kind of tunnel is one class.  Its fields describe one link; its class variables
describe the whole kind: protocol, header, key.  ``snnet.core.tunnels`` has what snnet
chooses when it builds tunnels; docs/adding-a-tunnel-kind.md lists the files of a new kind.
"""

from __future__ import annotations

from typing import ClassVar

from .frozen import frozen
from .links import Link
from .noun import IPAddress

GENEVE_PORT = 6081
"""IANA's port for Geneve (RFC 8926, section 3.3)."""

_IPV4_HEADER, _IPV6_HEADER = 20, 40  # RFC 791, RFC 8200
_ETHERNET_HEADER = 14
_GRE_HEADER = 8  # with a key (RFC 2890)
_UDP_HEADER = 8  # RFC 768
_VNI_HEADER = 8  # VXLAN (RFC 7348, 5) and Geneve without options (RFC 8926, 3.4)


@frozen()
class Tunnel(Link):
    """The base of all tunnels, with the outer destination and TTL."""

    protocol: ClassVar[str]
    """The value of ``NetworkConfig.tunnel`` for this kind."""
    header: ClassVar[int]
    """The length of the protocol's own header in bytes."""
    over_udp: ClassVar[bool] = False
    """Whether it is carried in UDP; then the noun has a ``port``."""
    has_local: ClassVar[bool] = True
    """Whether the noun has ``local``, the outer source.  If not, the route determines it."""
    key_field: ClassVar[str]
    """The field with the key, which distinguishes tunnels between the same nodes."""
    key_bits: ClassVar[int]
    """The length of the key on the wire in bits."""
    taken: ClassVar[str] = "EEXIST"
    """The kernel's errno for a second link with the same :meth:`identity`."""

    remote: IPAddress | None
    ttl: int = 64

    @classmethod
    def overhead(cls, version: int) -> int:
        """Return the bytes that a tunnel over IPv4 or IPv6 takes from the underlay's MTU."""
        outer = _IPV4_HEADER if version == 4 else _IPV6_HEADER
        if cls.over_udp:
            outer += _UDP_HEADER
        return outer + cls.header + (_ETHERNET_HEADER if cls.ethernet else 0)

    @classmethod
    def identity(
        cls, key: int, local: IPAddress | None, remote: IPAddress | None, port: int
    ) -> tuple[object, ...]:
        """Return what identifies a tunnel of this kind to the kernel, on creation and receipt.

        Two links of one host never share it.  ``port`` is the UDP port, 0 for
        protocols without one.
        """
        raise NotImplementedError

    @property
    def wire_key(self) -> int:
        """The key on the wire, whatever the name of its field."""
        key: int = getattr(self, self.key_field)
        return key

    @property
    def wire_local(self) -> IPAddress | None:
        """The outer source address; None if the route to the far end determines it."""
        return getattr(self, "local", None)

    @property
    def wire_port(self) -> int:
        """The outer UDP port; 0 for protocols without one."""
        port: int = getattr(self, "port", 0)
        return port

    @property
    def wire_identity(self) -> tuple[object, ...]:
        """The :meth:`identity` of this link."""
        return self.identity(self.wire_key, self.wire_local, self.remote, self.wire_port)


@frozen()
class Gretap(Tunnel):
    """Ethernet over GRE (RFC 2784, RFC 2890), point to point.

    Over IPv6 (kind ``ip6gretap``) no encapsulation limit option is sent.
    """

    kinds: ClassVar[tuple[str, ...]] = ("gretap", "ip6gretap")
    protocol: ClassVar[str] = "gre"
    header: ClassVar[int] = _GRE_HEADER
    key_field: ClassVar[str] = "tunnel_key"
    key_bits: ClassVar[int] = 32

    local: IPAddress
    remote: IPAddress
    tunnel_key: int

    @classmethod
    def identity(
        cls, key: int, local: IPAddress | None, remote: IPAddress | None, port: int
    ) -> tuple[object, ...]:
        return ("gretap", key, local, remote)  # ip_tunnel_find, net/ipv4/ip_tunnel.c

    @property
    def kind(self) -> str:
        return "gretap" if self.local.version == 4 else "ip6gretap"

    @property
    def module(self) -> str:
        return "ip_gre" if self.local.version == 4 else "ip6_gre"

    @property
    def unmakeable(self) -> str | None:
        return _mixed(self.local, self.remote)

    def details(self) -> dict[str, object]:
        return {
            **Link.details(self),
            "key": self.tunnel_key,
            "local": self.local,
            "remote": self.remote,
        }


@frozen()
class Gre(Tunnel):
    """IP over multipoint GRE: neighbour entries give the underlay address of each peer."""

    kinds: ClassVar[tuple[str, ...]] = ("gre",)
    ethernet: ClassVar[bool] = False
    protocol: ClassVar[str] = "gre"
    header: ClassVar[int] = _GRE_HEADER
    key_field: ClassVar[str] = "tunnel_key"
    key_bits: ClassVar[int] = 32

    local: IPAddress
    remote: None = None
    tunnel_key: int

    @classmethod
    def identity(
        cls, key: int, local: IPAddress | None, remote: IPAddress | None, port: int
    ) -> tuple[object, ...]:
        return ("gre", key, local)

    @property
    def module(self) -> str:
        return "ip_gre"

    @property
    def unmakeable(self) -> str | None:
        if self.local.version == 4:
            return None
        return "Linux has no multipoint gre over IPv6: set tunnel 'vxlan'"

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "key": self.tunnel_key, "local": self.local}


@frozen()
class Vxlan(Tunnel):
    """VXLAN (RFC 7348) without learning.  Without ``remote``, fdb entries give the remotes."""

    kinds: ClassVar[tuple[str, ...]] = ("vxlan",)
    protocol: ClassVar[str] = "vxlan"
    header: ClassVar[int] = _VNI_HEADER
    over_udp: ClassVar[bool] = True
    key_field: ClassVar[str] = "vni"
    key_bits: ClassVar[int] = 24

    vni: int
    local: IPAddress
    port: int

    @classmethod
    def identity(
        cls, key: int, local: IPAddress | None, remote: IPAddress | None, port: int
    ) -> tuple[object, ...]:
        # The remote does not count: vxlan_vni_in_use, drivers/net/vxlan/vxlan_core.c.
        return ("vxlan", key, port, local.version if local else None)

    @property
    def unmakeable(self) -> str | None:
        return _mixed(self.local, self.remote)

    def details(self) -> dict[str, object]:
        return {
            **Link.details(self),
            "vni": self.vni,
            "local": self.local,
            "remote": self.remote,
            "port": self.port,
        }


@frozen()
class Geneve(Tunnel):
    """Geneve (RFC 8926), point to point.

    The kernel's device has no local address.  The route to the far end determines it
    (geneve_get_v4_rt, drivers/net/geneve.c).
    """

    kinds: ClassVar[tuple[str, ...]] = ("geneve",)
    protocol: ClassVar[str] = "geneve"
    has_local: ClassVar[bool] = False
    taken: ClassVar[str] = "EBUSY"  # geneve_configure, drivers/net/geneve.c
    header: ClassVar[int] = _VNI_HEADER
    over_udp: ClassVar[bool] = True
    key_field: ClassVar[str] = "vni"
    key_bits: ClassVar[int] = 24

    remote: IPAddress
    vni: int
    port: int = GENEVE_PORT

    @classmethod
    def identity(
        cls, key: int, local: IPAddress | None, remote: IPAddress | None, port: int
    ) -> tuple[object, ...]:
        return ("geneve", key, remote, port)

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "vni": self.vni, "remote": self.remote, "port": self.port}


TUNNELS: tuple[type[Tunnel], ...] = (Gretap, Vxlan, Geneve)
"""The kinds that join the bridges of a subnet; the default is first."""


def _mixed(local: IPAddress, remote: IPAddress | None) -> str | None:
    if remote is None or local.version == remote.version:
        return None
    return f"local address {local} and remote address {remote} are of different families"
