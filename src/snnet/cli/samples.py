"""A sample of every kind of noun, to ask drivers what they support."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

from snnet.config import TUNNELS
from snnet.contract import (
    Address,
    AntiSpoof,
    ArpGuard,
    Attached,
    Bridge,
    BridgeAccept,
    BridgeFdb,
    DhcpGuard,
    DhcpScope,
    ExternalForward,
    Fdb,
    Gre,
    GroupMembers,
    GroupRules,
    HostIsolation,
    HostServices,
    Ifb,
    Link,
    Macvtap,
    Masquerade,
    MssClamp,
    Namespace,
    Neighbour,
    Noun,
    OpenAddress,
    Path,
    PolicyRule,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    ProxyNeighbour,
    PublicIp,
    Redirect,
    Route,
    Rule,
    Shaper,
    Sysctl,
    Tap,
    TranslatedSource,
    TunnelGuard,
    Untracked,
    Veth,
    Zone,
    ZoneLink,
)
from snnet.contract.network import OWN_TABLES
from snnet.core.tunnels import tunnel_link

_LOCAL, _REMOTE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
_LOCAL6, _REMOTE6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
_NETWORK = IPv4Network("10.1.0.0/24")
_GUEST = IPv4Address("10.1.0.9")
_MAC = "02:00:0a:01:00:09"


def samples(owner: str) -> list[Noun]:
    """The samples, links first.  They are never created."""
    return [*_links(), *_other_nouns(), *_rules(owner), _scope(owner)]


def label(noun: Noun) -> str:
    """The name of this kind of noun: for links the kernel's, else that of the class."""
    return noun.kind if isinstance(noun, Link) else type(noun).__name__


def _links() -> Iterator[Link]:
    yield Bridge(name="probe")
    yield Tap(name="probe")
    yield Veth(name="probe", peer="probe1")
    yield Ifb(name="probe")
    yield Macvtap(name="probe", lower="eth0")
    yield Gre(name="probe", local=_LOCAL, tunnel_key=1)
    over_both = (
        tunnel_link(tunnel, name="probe", key=1, local=local, remote=remote)
        for tunnel in TUNNELS
        for local, remote in ((_LOCAL, _REMOTE), (_LOCAL6, _REMOTE6))
    )
    yield from {link.kind: link for link in over_both}.values()


def _other_nouns() -> Iterator[Noun]:
    yield Address(link="probe", address=IPv4Interface("10.1.0.1/24"))
    yield Route(link="probe", destination=_NETWORK)
    yield PolicyRule(source=_NETWORK, table=OWN_TABLES[0], priority=20000)
    yield Path(link="probe", remote=_REMOTE, source=_LOCAL)
    yield Neighbour(link="probe", address=_GUEST, lladdr=_MAC)
    yield ProxyNeighbour(link="probe", address=_GUEST)
    yield Fdb(link="probe", mac=_MAC, remote=_REMOTE)
    yield BridgeFdb(link="probe", mac=_MAC)
    yield Sysctl(name="net.ipv4.ip_forward", value="1")
    yield Namespace(name="probe")
    yield Attached(link="probe")
    yield Shaper(link="probe", rate=10**6)
    yield Redirect(link="probe", to="probe")


def _rules(owner: str) -> Iterator[Noun]:
    yield Zone(owner=owner, zone="probe")
    yield ProtectedNetwork(owner=owner, network=_NETWORK)
    yield ZoneLink(owner=owner, zone="probe", link="probe")
    yield BridgeAccept(owner=owner, bridge="probe")
    yield Untracked(owner=owner, link="probe")
    yield TunnelGuard(
        owner=owner, link="probe", protocol="udp", port=4789, tunnel_key=1, remote=_REMOTE
    )
    yield HostIsolation(owner=owner, link="probe")
    yield HostServices(owner=owner, link="probe")
    yield AntiSpoof(owner=owner, link="probe", mac=_MAC, addresses=(_GUEST,))
    yield DhcpGuard(owner=owner, link="probe", mac=_MAC)
    yield GroupMembers(owner=owner, tenant="probe", group="probe", addresses=(_GUEST,))
    yield GroupRules(owner=owner, tenant="probe", group="probe", rules=(Rule("in", "tcp", 80),))
    yield PortGroups(owner=owner, link="probe", tenant="probe", groups=("probe",))
    yield MssClamp(owner=owner, link="probe", mtu=1400)
    yield ArpGuard(owner=owner, link="probe", mac=_MAC, address=_GUEST)
    yield Masquerade(owner=owner, device="probe")
    yield TranslatedSource(owner=owner, source=_GUEST)
    yield OpenAddress(owner=owner, address=_GUEST)
    yield ExternalForward(owner=owner, device="probe", bridge="probe")
    yield PortForward(
        owner=owner, protocol="tcp", device="probe", port=80, target=_GUEST, target_port=80
    )
    yield PublicIp(owner=owner, public=_REMOTE, internal=_GUEST, device="probe")


def _scope(owner: str) -> DhcpScope:
    return DhcpScope(owner=owner, link="probe", subnets=(_NETWORK,), mtu=1400)
