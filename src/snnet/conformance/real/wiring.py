"""The namespaces of a real rig, and the links, addresses and routes in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from snnet.conformance.endpoints import (
    BRIDGES,
    DEVICES,
    ENDPOINTS,
    HUB,
    ROUTED_GATEWAY,
    ROUTED_GATEWAY6,
    Endpoint,
    Wire,
)
from snnet.contract.links import LINK_GROUP
from snnet.system.namespaces import Namespace

NIC = "eth0"

_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # Only the firewall may stop a packet.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # A redirected guest would bypass the hub.
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    # No duplicate address detection: addresses are usable at once.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
_BRIDGE_SETTINGS = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")


def build(spaces: Mapping[Endpoint, Namespace], *, br_netfilter: bool) -> None:
    """Connect the namespaces of all endpoints to the hub."""
    hub = spaces[HUB]
    for space in spaces.values():
        space.call(lambda: _set(_SETTINGS))
    shown = dict.fromkeys(_BRIDGE_SETTINGS, str(int(br_netfilter)))
    hub.call(lambda: _set(shown, only_where_there=True))
    hub.ip(_hub_commands(spaces))
    for endpoint in ENDPOINTS:
        spaces[endpoint].ip(_endpoint_commands(endpoint))
        spaces[endpoint].call(lambda: _hurry(NIC))
    for link in [wire.name for wire in BRIDGES] + [endpoint.link for endpoint in ENDPOINTS]:
        hub.call(lambda link=link: _hurry(link))  # type: ignore[misc]


def shows_bridged(hub: Namespace) -> bool:
    """Whether IP's hooks see bridged IPv4 packets: br_netfilter is loaded and on."""
    path = Path("/proc/sys", _BRIDGE_SETTINGS[0])
    return hub.call(lambda: path.exists() and path.read_text().strip() != "0")


def open_spaces(opened: ExitStack) -> dict[Endpoint, Namespace]:
    """Open a namespace for each endpoint and the hub."""
    spaces = {}
    for endpoint in (HUB, *ENDPOINTS):
        spaces[endpoint] = Namespace(endpoint.name)
        opened.callback(spaces[endpoint].close)
    return spaces


def _hub_commands(spaces: Mapping[Endpoint, Namespace]) -> Iterator[str]:
    yield "link set lo up"
    for wire in BRIDGES:
        # With snooping on, a bridge gives MLD reports to multicast routers alone.
        yield f"link add {wire.name} address {wire.mac} type bridge mcast_snooping 0"
    macs = {wire.name: wire.mac for wire in DEVICES}
    for endpoint in ENDPOINTS:
        mac = macs.get(endpoint.link) or (endpoint.gateway_mac if endpoint.bridge is None else "")
        yield (
            f"link add {endpoint.link} {f'address {mac} ' if mac else ''}type veth"
            f" peer name {NIC} address {endpoint.mac} netns {spaces[endpoint].path}"
        )
        if endpoint.bridge is not None:
            yield f"link set {endpoint.link} master {endpoint.bridge}"
            # An address on a port would be another way to the host.
            yield f"link set {endpoint.link} addrgenmode none"
            yield f"link set {endpoint.link} group {LINK_GROUP}"
        yield f"link set {endpoint.link} up"
        if endpoint.gateway == ROUTED_GATEWAY:
            yield f"address add {ROUTED_GATEWAY}/32 dev {endpoint.link}"
            yield f"route add {endpoint.ip} dev {endpoint.link}"
            yield f"address add {ROUTED_GATEWAY6}/64 dev {endpoint.link} nodad"
            yield f"route add {endpoint.ip6} dev {endpoint.link}"
    for wire in (*BRIDGES, *DEVICES):
        yield from _wire_commands(wire)


def _wire_commands(wire: Wire) -> Iterator[str]:
    yield f"link set {wire.name} up"
    yield f"address add {wire.address} dev {wire.name}"
    yield f"address add {wire.address6} dev {wire.name} nodad"


def _endpoint_commands(endpoint: Endpoint) -> Iterator[str]:
    yield "link set lo up"
    yield f"link set {NIC} up"
    yield f"address add {endpoint.address} dev {NIC}"
    yield f"route add default via {endpoint.gateway} dev {NIC} onlink"
    if endpoint.address6 is not None:
        yield f"address add {endpoint.address6} dev {NIC} nodad"
        yield f"route add default via {endpoint.gateway6} dev {NIC}"


def _hurry(link: str) -> None:
    """Repeat an ARP request after 50 ms instead of 1 s, for answers that were blocked at first."""
    for family in ("ipv4", "ipv6"):
        _set({f"net/{family}/neigh/{link}/retrans_time_ms": "50"})


def _set(settings: Mapping[str, str], *, only_where_there: bool = False) -> None:
    for name, value in settings.items():
        path = Path("/proc/sys", name)
        if not only_where_there or path.exists():
            path.write_text(value)
