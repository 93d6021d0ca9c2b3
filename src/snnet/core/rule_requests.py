"""The rules of a concentrator's calls, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Collection

from snnet.config import Address, check_choice, check_int, check_ports, check_text
from snnet.contract import PROTOCOLS, InvalidRequest, IPAddress, PortForward, PublicIp

from .addressing import check_ipv4, check_unicast
from .identity import Owner


def port_forwards(
    owner: Owner,
    *,
    protocol: str,
    device: str,
    port: int | str,
    to: Address,
    to_port: int | None = None,
) -> list[PortForward]:
    """The rules of one ``add_port_forward``, a rule for each port."""
    ports = check_ports(port, "port")
    shift = 0 if to_port is None else check_int(to_port, "to_port", 1, 65535) - ports[0]
    if ports[-1] + shift > 65535:
        raise InvalidRequest(f"{port} from {to_port} on goes beyond 65535", field="to_port")
    return [
        PortForward(
            owner=str(owner),
            protocol=check_choice(protocol, "protocol", PROTOCOLS),
            device=check_text(device, "device"),
            port=number,
            target=check_ipv4(to, "to"),
            target_port=number + shift,
        )
        for number in ports
    ]


def public_ip(
    owner: Owner, pool: Collection[IPAddress], *, address: Address, to: Address, device: str
) -> PublicIp:
    """The rule of ``add_public_ip``; with a ``pool`` only its addresses are public."""
    public = check_unicast(address, "address")
    if pool and public not in pool:
        raise InvalidRequest(f"{public} is not in the floating pool", field="address")
    return PublicIp(
        owner=str(owner),
        public=public,
        internal=check_ipv4(to, "to"),
        device=check_text(device, "device"),
    )
