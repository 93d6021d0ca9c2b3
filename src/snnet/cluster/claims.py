"""What only one object can have, and which object is which."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import IPAddress

from .documents import Network, PublicIp, Vnic, Wanted

Id = tuple[str, str, str]
"""Kind, tenant and name."""

Claim = tuple[str, ...]
"""The field that must be unique, where it must be, and its value."""


def id_of(wanted: Wanted) -> Id:
    return (wanted.kind, wanted.tenant, wanted.name)


def key_claim(key: int) -> Claim:
    return ("key", str(key))


def ip_claim(tenant: str, network: str, ip: IPAddress) -> Claim:
    return ("ip", tenant, network, str(ip))


def mac_claim(tenant: str, network: str, mac: str) -> Claim:
    return ("mac", tenant, network, mac)


def claims_of(wanted: Wanted) -> Iterable[Claim]:
    """What an object has, or asks for, that no other object can have."""
    match wanted:
        case Network(key=int() as key):
            return [key_claim(key)]
        case Vnic():
            place = wanted.tenant, wanted.network
            found = [ip_claim(*place, ip) for ip in wanted.ip]
            # Without an address the MAC is not known yet, unless it is given.
            if wanted.mac or wanted.ip:
                found.append(mac_claim(*place, wanted.guest_mac))
            return found
        case PublicIp():
            return [("address", wanted.name)]
        case _:
            return []
