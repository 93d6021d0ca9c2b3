"""The checked rules of a concentrator's calls: nothing is touched before the check."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from snnet.config import (
    Address,
    Network,
    check_choice,
    check_int,
    check_many,
    check_network,
    check_text,
)
from snnet.contract import (
    PROTOCOLS,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    Key,
    PortForward,
    PublicIp,
)

from .addressing import check_ipv4, check_unicast
from .identity import Owner
from .ports import check_ports
from .rules import port_forward_key


def port_forwards(
    owner: Owner,
    *,
    protocol: str,
    device: str,
    port: int | str,
    to: Address,
    to_port: int | None = None,
    address: Address | None = None,
    sources: Iterable[Network] = (),
) -> list[PortForward]:
    """Return the rules of one ``add_port_forward``, one for each port."""
    ports = check_ports(port, "port")
    shift = 0 if to_port is None else check_int(to_port, "to_port", 1, 65535) - ports[0]
    if ports[-1] + shift > 65535:
        raise InvalidRequest(f"{port} from {to_port} on exceeds port 65535", field="to_port")
    first = PortForward(
        owner=str(owner),
        protocol=check_choice(protocol, "protocol", PROTOCOLS),
        device=check_text(device, "device"),
        port=ports[0],
        target=check_ipv4(to, "to"),
        target_port=ports[0] + shift,
        address=own_address(address),
        sources=check_many(sources, "sources", _source),
    )
    return [replace(first, port=number, target_port=number + shift) for number in ports]


def own_address(address: object) -> IPv4Address | None:
    """Check the ``address`` of a port forward: the address of a host, or None."""
    return None if address is None else check_unicast(address, "address")


def _source(value: object, field: str) -> IPv4Network:
    network = check_network(value, field)
    if isinstance(network, IPv4Network):
        return network
    raise InvalidRequest(f"{network} is not IPv4: tenants have IPv4 only", field=field)


def public_ip(
    owner: Owner, pool: Collection[IPAddress], *, address: Address, to: Address, device: str
) -> PublicIp:
    """Return the rule of ``add_public_ip``; if there is a ``pool``, the address must be in it."""
    public = check_unicast(address, "address")
    if pool and public not in pool:
        raise InvalidRequest(f"{public} is not in the floating pool", field="address")
    return PublicIp(
        owner=str(owner),
        public=public,
        internal=check_ipv4(to, "to"),
        device=check_text(device, "device"),
    )


def external_forward(owner: Owner, device: str, bridge: str) -> ExternalForward:
    """What ``allow_external`` and ``deny_external`` are about."""
    return ExternalForward(
        owner=str(owner),
        device=check_text(device, "device"),
        bridge=check_text(bridge, "bridge"),
    )


def forwarded_ports(
    owner: Owner, protocol: str, device: str, port: int | str, address: Address | None
) -> list[Key]:
    """The identities of the forwards that ``remove_port_forward`` is about."""
    check_choice(protocol, "protocol", PROTOCOLS)
    device, at = check_text(device, "device"), own_address(address)
    return [
        port_forward_key(owner, protocol, device, number, at)
        for number in check_ports(port, "port")
    ]
