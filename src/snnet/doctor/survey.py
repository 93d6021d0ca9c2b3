"""Which nodes are on this host: by what the kernel and the runtime directory know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from snnet import plugins
from snnet.config import NetworkConfig
from snnet.contract import Link, Namespace, SnnetError
from snnet.core.identity import OWNER, decode, owner_of
from snnet.node import Cnci, ComputeNode
from snnet.node.noted import noted
from snnet.system.host import RealHost


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node that has something on this host.

    ``netns`` is the name of its network namespace, None for the one that was asked about.
    ``settings`` are those it was set up with, empty if they are not known: then the
    defaults stand in for them.
    """

    owner: str
    netns: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def role(self) -> str:
        return self.owner.partition(":")[0]

    @property
    def id(self) -> str:
        return self.owner.partition(":")[2]

    @property
    def title(self) -> str:
        """The node as people read it."""
        return f"{self.owner} in {self.netns}" if self.netns else self.owner


def survey(backend: str = "netlink") -> list[FoundNode]:
    """Find the nodes of the current network namespace, and of those that it owns.

    Raises ``SnnetError`` if the host cannot be read; nothing is changed.
    """
    found: list[FoundNode] = []
    spaces = [None, *_read(None, backend, found)]
    for name in spaces[1:]:
        try:
            _read(name, backend, found)
        except SnnetError:
            continue  # it is gone meanwhile
    return sorted(found, key=lambda node: (node.netns is not None, node.owner))


def _read(netns: str | None, backend: str, found: list[FoundNode]) -> list[str]:
    """Add the nodes of a namespace; return the namespaces that they own."""
    host = RealHost(netns)
    try:
        settings = noted(host)
        driver = plugins.open_driver(plugins.BACKENDS, backend, host)
        try:
            nouns = driver.snapshot({Link, Namespace}).values()
        finally:
            driver.close()
    finally:
        host.close()
    owners = {owner_of(noun) for noun in nouns if isinstance(noun, Link)} - {""}
    for owner in sorted(owners | settings.keys()):
        found.append(FoundNode(owner, netns, settings.get(owner, {})))
    # The names are shared by all hosts that are namespaces of one machine.
    return [
        noun.name
        for noun in nouns
        if isinstance(noun, Namespace)
        and netns is None
        and (decode(noun.alias) or {}).get(OWNER) in owners | settings.keys()
    ]


@contextmanager
def opened(node: FoundNode, *, read_only: bool) -> Iterator[ComputeNode | Cnci]:
    """Open a node that was found, as it was set up, and let it read the kernel."""
    settings = node.settings
    config = NetworkConfig.from_dict(settings.get("config", {}))
    drivers: dict[str, Any] = {
        name: settings[name] for name in ("backend", "firewall") if settings.get(name)
    }
    made: ComputeNode | Cnci
    if node.role == "cn":
        made = ComputeNode(node.id, config, netns=node.netns, read_only=read_only, **drivers)
    else:
        if settings.get("dhcp"):
            drivers["dhcp"] = settings["dhcp"]
        tenant = settings.get("tenant_id") or node.id
        made = Cnci(
            node.id, config, tenant_id=tenant, netns=node.netns, read_only=read_only, **drivers
        )
    with made:
        made.init()
        yield made


def topology(node: FoundNode) -> dict[str, Any]:
    """What a node has, as plain data.  Raises ``SnnetError`` if it cannot be read."""
    with opened(node, read_only=True) as it:
        return it.topology().to_dict()


def differences(node: FoundNode) -> list[str]:
    """What ``verify()`` of a node says, or why it cannot be asked."""
    try:
        with opened(node, read_only=True) as it:
            return it.verify()
    except SnnetError as error:
        return [str(error)]
