"""Network namespaces of a host, what is inside them, and links that come from outside."""

from __future__ import annotations

from typing import Any, ClassVar

from .frozen import frozen
from .links import Veth, link_key
from .noun import Key, Noun


def namespace_key(name: str) -> Key:
    """Return the key of the namespace called ``name``."""
    return ("namespace", name)


@frozen()
class Namespace(Noun):
    """A network namespace with a name, as ``ip netns add`` creates it (ip-netns(8)).

    Its loopback is up.  ``alias`` is the alias of its loopback, which says whose namespace
    it is.  A namespace that another host created has no alias here: hosts that are network
    namespaces themselves share the names, and nothing else.

    Snapshots contain those with an alias.  Removing it removes its name, and the links in
    it once no process is in it.  One whose alias is another, or that has none, is somebody
    else's: ``Missing``, and it stays.
    """

    rank: ClassVar[int] = 8
    capability: ClassVar[str] = "CAP_SYS_ADMIN"

    name: str
    alias: str = ""

    def make_key(self) -> Key:
        return namespace_key(self.name)

    def __str__(self) -> str:
        alias = f' alias "{self.alias}"' if self.alias else ""
        return f"namespace {self.name}{alias}"


@frozen()
class Attached(Noun):
    """A link that somebody else created is up, and a port of ``master`` if that is given.

    Removing it takes the link down and out of its bridge, and leaves it there.  Use it with
    ``find`` only; snapshots never contain one.
    """

    rank: ClassVar[int] = 22
    changeable: ClassVar[frozenset[str]] = frozenset({"master"})

    link: str
    master: str | None = None

    def make_key(self) -> Key:
        return ("attached", self.link)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        port = f" master {self.master}" if self.master else ""
        return f"attached {self.link}{port}"


@frozen()
class Inside(Noun):
    """A noun in another namespace of the host.  Use it with ``find`` only, like ``Path``.

    It is in that very namespace, alias included: in another one of its name nothing is found,
    and nothing is changed.
    """

    # After the veth pairs that lead inside; in the order given.
    rank: ClassVar[int] = 31
    capability: ClassVar[str] = "CAP_SYS_ADMIN"  # to enter the namespace
    changeable: ClassVar[frozenset[str]] = frozenset({"what"})

    namespace: Namespace
    what: Noun

    def make_key(self) -> Key:
        return ("inside", self.namespace.name, *self.what.key)

    @property
    def within(self) -> Key:
        return namespace_key(self.namespace.name)

    def differences(self, found: Noun) -> frozenset[str]:
        if isinstance(found, Inside) and not self.what.differences(found.what):
            return frozenset()
        return frozenset({"what"})

    def to_dict(self) -> dict[str, Any]:
        return {"noun": "Inside", "namespace": self.namespace.name, "what": self.what.to_dict()}

    def __str__(self) -> str:
        return f"in {self.namespace.name}: {self.what}"


def namespace_of(noun: Noun) -> str | None:
    """Return the name of the namespace without which the noun cannot be there, or None.

    That is a ``Namespace`` itself, what is ``Inside`` it, and a veth that leads into it.
    """
    match noun:
        case Namespace(name=name):
            return name
        case Inside(namespace=namespace):
            return namespace.name
        case Veth(peer_namespace=name):
            return name
    return None
