"""Kernel parameters of a node's links, which come with the links and others may change."""

from __future__ import annotations

from snnet.contract import Driver, Key, Link, Noun, Nouns, Sysctl, keyed
from snnet.contract.network import FORWARDING
from snnet.contract.parameters import needs_no_ipv6, quiet_parameters
from snnet.core.inputs import forwarding_of
from snnet.core.records import Records


def changed_parameters(
    backend: Driver, records: Records, there: Nouns
) -> tuple[dict[Key, Noun], dict[Key, Noun]]:
    """Return those that somebody changed: as found, and as wanted.

    Those by which the host forwards, and those that keep its IPv6 from links of the node.
    What the links that are ``there`` say is not looked up once more.
    """
    if Sysctl not in backend.carries:
        return {}, {}
    names: list[str] = []
    for version in sorted(records.forwarding):
        whole = backend.find(Sysctl(name=FORWARDING[version]))
        # Turning that on again sets all the others.
        if isinstance(whole, Sysctl) and whole.value != "0":
            links = ("default", *records.routers())
            names += [forwarding_of(version, link) for link in links]
    wanted = dict.fromkeys(names, "1")
    for noun in records.nouns():
        if isinstance(noun, Link) and not _is_without_ipv6(noun, there.get(noun.key)):
            wanted |= quiet_parameters(noun)
    parameters = keyed(Sysctl(name=name, value=value) for name, value in wanted.items())
    found = backend.find_all(parameters.values())
    off = {key: noun for key, noun in found.items() if noun != parameters[key]}
    return off, {key: parameters[key] for key in off}


def _is_without_ipv6(wanted: Link, found: Noun | None) -> bool:
    """Whether the link needs no IPv6, and the one that was found says that it has none."""
    return needs_no_ipv6(wanted) and isinstance(found, Link) and found.without_ipv6 is True
