"""A concentrator's rules: what contradicts what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from snnet.contract import Conflict, ExternalForward, Key, Noun, PortForward, PublicIp

from .identity import Owner
from .nat import Rule as Rule
from .subnets import CnciSubnet


def check_rule(rule: Rule, known: Mapping[Key, Rule]) -> None:
    """Conflict where a rule contradicts one that exists."""
    old = known.get(rule.key)
    if old is not None and not same_rule(rule, old):
        raise Conflict(f"{old} exists: disable it before {rule}")
    if isinstance(rule, PublicIp):
        for other in known.values():
            if (
                isinstance(other, PublicIp)
                and (other.internal, other.device) == (rule.internal, rule.device)
                and other.public != rule.public
            ):
                raise Conflict(f"{rule.internal} has the public address {other.public} already")


def port_forward_key(
    owner: Owner, protocol: str, device: str, port: int, address: IPv4Address | None = None
) -> Key:
    """Identity of the rule that forwards the port, of one address or of any."""
    at = (str(address),) if address else ()
    return ("port-forward", str(owner), protocol, device, str(port), *at)


def public_key(owner: Owner, address: IPv4Address) -> Key:
    """Identity of the rule that makes the address public."""
    return ("public-ip", str(owner), str(address))


def same_rule(rule: Noun, other: Noun | None) -> bool:
    """Whether both say the same, whatever addresses the device had at the time."""
    if isinstance(rule, PortForward) and isinstance(other, PortForward):
        return replace(rule, addresses=()) == replace(other, addresses=())
    return rule == other


def rules_about(subnet: CnciSubnet, rules: Iterable[Rule]) -> Iterator[Rule]:
    """Those of the rules that let the subnet out, or lead to one of its guests."""
    for rule in rules:
        match rule:
            case ExternalForward(bridge=subnet.bridge.name):
                yield rule
            case PortForward(target=address) | PublicIp(internal=address):
                if address in subnet.network:
                    yield rule
