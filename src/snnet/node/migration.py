"""Moving a node's rules from another firewall driver to its own."""

from __future__ import annotations

import re

from snnet import plugins
from snnet.contract import Add, Driver, Host, Noun, Owned, Remove, SnnetError, Zone
from snnet.core.identity import Owner

from .drivers import Drivers

_OUTSIDE_THE_KERNEL = ("fake", "none")
"""Firewalls that have no rules to take over: not worth loading them."""

_NAMES = {"nftables": "snnet-(?!iptables)", "iptables": "SNNET-|snnet-iptables"}
"""How the names of their tables and chains in nf_tables begin; see ``_has_rules``."""

_RULE = Zone(zone="any")
"""A rule that a firewall sets if it sets any."""


def take_over(owner: Owner, drivers: Drivers, host: Host) -> list[str]:
    """Move the owner's rules from other installed firewalls without a gap; return what moved.

    For a moment the rules are in both firewalls, so connections continue.  If the new
    firewall fails, its error is raised and everything is as before.
    """
    from snnet.system.host import RealHost

    firewall = drivers.firewall
    if not isinstance(host, RealHost):
        return []
    others = {*plugins.installed(plugins.FIREWALLS)} - {firewall.name, *_OUTSIDE_THE_KERNEL}
    used = [name for name in sorted(others) if _has_rules(name, host)]
    if not used or firewall.missing(_RULE) is not None:
        return []
    return [line for name in used for line in _take_over_from(name, owner, firewall, host)]


def _has_rules(name: str, host: Host) -> bool:
    """Whether a firewall may have rules of snnet here: loading one that has none takes longer.

    One that is not known here may have rules anywhere, and where the kernel does not tell, any may.
    """
    from snnet.system.rulesets import legacy_tables, names

    if name not in _NAMES:
        return True
    try:
        if name == "iptables" and legacy_tables(host.netns.fd):
            return True
        return any(re.match(_NAMES[name], found) for found in names(host.netns.fd))
    except OSError:
        return True


def _take_over_from(name: str, owner: Owner, firewall: Driver, host: Host) -> list[str]:
    try:
        other = plugins.open_driver(plugins.FIREWALLS, name, host)
    except SnnetError:
        return []  # a driver that cannot be opened here has no rules here
    try:
        rules = move_rules(str(owner), other, firewall)
    finally:
        other.close()
    return [f"{rule}: from {name} to {firewall.name}" for rule in rules]


def move_rules(owner: str, old: Driver, new: Driver) -> list[Noun]:
    """Move the owner's rules from the old firewall to the new one; return what moved.

    What the new one has already stays.  If it fails, its error is raised and both have what they
    had.  An old one that cannot be looked at has no rules.
    """
    try:
        found = old.snapshot().values()
    except SnnetError:
        return []
    rules: list[Noun] = [
        noun
        for noun in sorted(found, key=lambda noun: noun.rank)
        if isinstance(noun, Owned) and noun.owner == owner
    ]
    added = [Add(rule) for rule in rules if new.find(rule) is None]
    outcome = new.transfer(added)
    if outcome.error is not None:
        new.transfer([added[number].inverse() for number in sorted(outcome.done, reverse=True)])
        raise outcome.error
    old.transfer([Remove(rule) for rule in reversed(rules)])
    return rules
