"""Which nodes are on this host: by what the kernel and the runtime directory know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from snnet import plugins
from snnet.config import NetworkConfig, NetworkMode
from snnet.contract import Conflict, Driver, InvalidRequest, Link, Namespace, SnnetError
from snnet.core.identity import OWNER, decode, owner_of
from snnet.core.topology import CnciTopology, Topology
from snnet.node import Cnci, ComputeNode
from snnet.node.noted import noted
from snnet.system.host import RealHost

from .once import Once

NOTE_AGAIN = "start its agent again, or the program that made it, which notes them"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node that has something on this host.

    ``netns`` is the name of its network namespace, None for the one that was asked about.
    ``settings`` are those it was set up with, empty if they are not known: then it can be shown,
    as if they were the defaults, and removed, and nothing else.
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

    @property
    def unknown(self) -> str | None:
        """Why nothing can be said about what it wants, or None."""
        if self.settings:
            return None
        return "its settings are not known, since their note in the runtime directory is gone"


@dataclass(frozen=True, slots=True)
class Seen:
    """A node with its address and what it has, or with the reason why it cannot be read."""

    node: FoundNode
    address: str = ""
    topology: Topology | CnciTopology | None = None
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What it has as plain data, or its error."""
        return self.topology.to_dict() if self.topology else {"error": self.error}


def survey(backend: str = "netlink") -> list[FoundNode]:
    """Find the nodes of the current network namespace, and of those that it owns.

    Raises ``SnnetError`` if the host cannot be read; nothing is changed.
    """
    return _visit(backend, lambda node, driver: node)


def nodes_in(netns: str, backend: str = "netlink") -> list[FoundNode]:
    """Find the nodes of a named network namespace, as it says that they were set up."""
    return _visit_one(netns, backend, lambda node, driver: node)[0]


def look(backend: str = "netlink") -> list[Seen]:
    """Like ``survey``, and read what each node has, with one reading of each namespace."""
    return _visit(backend, _seen)


def _visit(backend: str, visit: Callable[[FoundNode, Once], T]) -> list[T]:
    """What a function says about each node, those of this namespace first."""
    found, spaces = _visit_one(None, backend, visit)
    for name in spaces:
        with suppress(SnnetError):  # it is gone meanwhile
            found += _visit_one(name, backend, visit)[0]
    return found


def _visit_one(
    netns: str | None, backend: str, visit: Callable[[FoundNode, Once], T]
) -> tuple[list[T], list[str]]:
    """What a function says about each node of a namespace, and the namespaces that they own."""
    host = RealHost(netns)
    try:
        settings = noted(host)
        inner = plugins.open_driver(plugins.BACKENDS, backend, host)
        try:
            driver = Once.of(inner)
            nouns = driver.snapshot({Link, Namespace}).values()
            owners = {owner_of(noun) for noun in nouns if isinstance(noun, Link)} - {""}
            owners |= settings.keys()
            found = [
                visit(FoundNode(owner, netns, settings.get(owner, {})), driver)
                for owner in sorted(owners)
            ]
        finally:
            inner.close()
    finally:
        host.close()
    # The names are shared by all hosts that are namespaces of one machine.
    spaces = [
        noun.name
        for noun in nouns
        if isinstance(noun, Namespace)
        and netns is None
        and (decode(noun.alias) or {}).get(OWNER) in owners
    ]
    return found, sorted(spaces)


def _seen(node: FoundNode, driver: Once) -> Seen:
    host = RealHost(node.netns, owner=node.owner)
    try:
        more: dict[str, Any] = {"backend": driver.on(host)}
        config = node.settings.get("config", {})
        if node.role == "cn" and config.get("mode") != NetworkMode.ROUTED.value:
            more["firewall"] = "none"  # a compute node knows its guests by their links alone
        with opened(node, read_only=True, **more) as it:
            return Seen(node, str(it.compute_ip), it.topology())
    except SnnetError as error:
        return Seen(node, error=str(error))
    finally:
        host.close()


@contextmanager
def opened(
    node: FoundNode, *, read_only: bool, cleaning: bool = False, **instead: Any
) -> Iterator[ComputeNode | Cnci]:
    """Open a node that was found, as it was set up, and let it read the kernel.

    ``instead`` are drivers to use instead of its own.  With ``cleaning`` it may be without what
    it needs to start, such as its uplink: then it can only be removed.

    Raises ``Conflict`` if it is to be changed and its settings are not known: with the defaults,
    what it has would be removed.
    """
    settings = node.settings
    if node.unknown and not (read_only or cleaning):
        raise Conflict(f"{node.unknown}: {NOTE_AGAIN}")
    config = NetworkConfig.from_dict(settings.get("config", {}))
    drivers: dict[str, Any] = {
        name: settings[name] for name in ("backend", "firewall") if settings.get(name)
    } | instead
    # A backend that is open has its own namespace.
    netns = None if isinstance(drivers.get("backend"), Driver) else node.netns
    made: ComputeNode | Cnci
    if node.role == "cn":
        made = ComputeNode(node.id, config, netns=netns, read_only=read_only, **drivers)
    else:
        if settings.get("dhcp"):
            drivers["dhcp"] = settings["dhcp"]
        tenant = settings.get("tenant_id") or node.id
        made = Cnci(node.id, config, tenant_id=tenant, netns=netns, read_only=read_only, **drivers)
    with made:
        try:
            made.init()
        except InvalidRequest:
            if not cleaning:
                raise
        yield made


def differences(node: FoundNode) -> list[str]:
    """What ``verify()`` of a node says, or why it cannot be asked."""
    if node.unknown:
        return [f"{node.unknown}: {NOTE_AGAIN}"]
    try:
        with opened(node, read_only=True) as it:
            return it.verify()
    except SnnetError as error:
        return [str(error)]
