"""Moving a node's rules from another firewall driver to its own."""

from __future__ import annotations

from snnet import plugins
from snnet.contract import Add, Driver, Host, Owned, Remove, SnnetError, Zone
from snnet.core.identity import Owner

from .drivers import Drivers

_OUTSIDE_THE_KERNEL = ("fake", "none")
"""Firewalls that have no rules to take over: not worth loading them."""


def take_over(owner: Owner, drivers: Drivers, host: Host) -> list[str]:
    """Move the owner's rules from other installed firewalls without a gap; return what moved.

    For a moment the rules are in both firewalls, so connections continue.  If the new
    firewall fails, its error is raised and everything is as before.
    """
    from snnet.system.host import RealHost

    firewall = drivers.firewall
    any_rule = Zone(owner=str(owner), zone="any")
    if not isinstance(host, RealHost) or firewall.missing(any_rule) is not None:
        return []
    moved: list[str] = []
    for name in plugins.installed(plugins.FIREWALLS):
        if name not in (firewall.name, *_OUTSIDE_THE_KERNEL):
            moved += _take_over_from(name, owner, firewall, host)
    return moved


def _take_over_from(name: str, owner: Owner, firewall: Driver, host: Host) -> list[str]:
    try:
        other = plugins.open_driver(plugins.FIREWALLS, name, host)
    except SnnetError:
        return []  # a driver that cannot be opened here has no rules here
    try:
        try:
            found = other.snapshot()
        except SnnetError:
            return []
        rules = [
            noun
            for noun in sorted(found.values(), key=lambda noun: noun.rank)
            if isinstance(noun, Owned) and noun.owner == str(owner)
        ]
        new = [Add(rule) for rule in rules if firewall.find(rule) is None]
        outcome = firewall.transfer(new)
        if outcome.error is not None:
            firewall.transfer(
                [new[number].inverse() for number in sorted(outcome.done, reverse=True)]
            )
            raise outcome.error
        other.transfer([Remove(rule) for rule in reversed(rules)])
        return [f"{rule}: from {name} to {firewall.name}" for rule in rules]
    finally:
        other.close()
