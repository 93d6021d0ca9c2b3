"""The rules of a concentrator, and contradictions between them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from snnet.contract import (
    Conflict,
    ExternalForward,
    IPAddress,
    Key,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
)

from .identity import Owner
from .nat import Rule as Rule
from .subnets import CnciSubnet


def check_rule(rule: Rule, known: Mapping[Key, Rule]) -> None:
    """Raise Conflict if a rule contradicts one that exists."""
    old = known.get(rule.key)
    if old is not None and not same_rule(rule, old):
        raise Conflict(f"{old} exists: remove it before adding {rule}")
    if isinstance(rule, PublicIp):
        for other in known.values():
            if (
                isinstance(other, PublicIp)
                and other.internal == rule.internal
                and (other.device == rule.device or rule.gateway is not None)
                and other.public != rule.public
            ):
                raise Conflict(
                    f"{rule.internal} has the public address {other.public}: remove that one first"
                )


def public_key(owner: Owner, address: IPAddress) -> Key:
    """Return the key of the rule for the public address."""
    return ("public-ip", str(owner), str(address))


def same_rule(rule: Noun, other: Noun | None) -> bool:
    """Whether two rules are equal apart from the addresses that the device had."""
    if isinstance(rule, PortForward) and isinstance(other, PortForward):
        return replace(rule, addresses=()) == replace(other, addresses=())
    return rule == other


def rules_about(subnet: CnciSubnet, rules: Iterable[Rule]) -> Iterator[Rule]:
    """Yield the rules that let the subnet out, or lead to one of its guests."""
    for rule in rules:
        match rule:
            case ExternalForward(bridge=subnet.bridge.name):
                yield rule
            case PortForward(target=address) | PublicIp(internal=address):
                if subnet.holds(address):
                    yield rule


def untranslated(rules: Collection[Rule]) -> Iterator[str]:
    """Yield a line for each bridge that may go out by a device where nothing is translated."""
    translated = {rule.device for rule in rules if isinstance(rule, (Masquerade, PublicIp))}
    for rule in rules:
        if isinstance(rule, ExternalForward) and rule.device not in translated:
            yield (
                f"{rule.bridge} may go out by {rule.device}, and nothing does, since only "
                f"translated packets leave: call enable_nat([{rule.device!r}])"
            )
