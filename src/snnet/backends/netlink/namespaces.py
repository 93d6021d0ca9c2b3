"""Named namespaces, and links in this one that others created."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator

from snnet.backends.namespaces import LOOPBACK, Marks, check_same
from snnet.contract import Attached, Missing, Namespace
from snnet.system import named
from snnet.system.netlink import NetlinkError
from snnet.system.netns import CURRENT, open_netns

from .creation import CHANGE, FLAGS, IFNAME, INDEX, MASTER
from .encoder import append
from .found import IFF_UP, IFLA_IFALIAS, ParsedLink
from .kernel import RTM_GETLINK, RTM_SETLINK, Kernel


class Namespaces:
    """The namespaces with a name; see ``snnet.backends.namespaces`` for whose they are."""

    def __init__(self, netns: int) -> None:
        self._netns = netns

    @functools.cached_property
    def _marks(self) -> Marks:
        return Marks(self._netns)

    def add(self, noun: Namespace) -> None:
        alias = self._marks.write(noun.alias)
        named.create(noun.name, lambda: _prepare(alias))

    def remove(self, noun: Namespace) -> None:
        check_same(noun, self.find(noun))
        named.remove(noun.name)

    def find(self, noun: Namespace) -> Namespace | None:
        try:
            alias = _alias_of(noun.name)
        except Missing:
            return None
        return Namespace(name=noun.name, alias=self._marks.read(alias))

    def snapshot(self) -> list[Namespace]:
        found = (self.find(Namespace(name=name)) for name in named.named())
        return [noun for noun in found if noun is not None and noun.alias]


class Attachments:
    """Links that are up, and their bridges."""

    def __init__(self, kernel: Kernel, look_up: Callable[[str], ParsedLink]) -> None:
        self._kernel = kernel
        self._look_up = look_up

    def add(self, noun: Attached) -> None:
        found = self._look_up(noun.link)
        if found.flags & IFF_UP:
            raise NetlinkError(errno.EEXIST, f"{noun.link} is up already")
        self._set(found.index, noun.master, up=True)

    def change(self, new: Attached, old: Attached) -> None:
        found = self._look_up(new.link)
        if not found.flags & IFF_UP:
            raise Missing(f"{new.link} is down")
        self._set(found.index, new.master, up=True)

    def remove(self, noun: Attached) -> None:
        found = self._look_up(noun.link)
        if not found.flags & IFF_UP:
            raise Missing(f"{noun.link} is down already")
        self._set(found.index, None, up=False)

    def find(self, noun: Attached) -> Attached | None:
        found = self._look_up(noun.link)
        if not found.flags & IFF_UP:
            return None
        return Attached(link=noun.link, master=found.noun(self._kernel.name).master)

    def snapshot(self) -> list[Attached]:
        return []

    def _set(self, index: int, master: str | None, *, up: bool) -> None:
        values = {
            INDEX: index,
            FLAGS: IFF_UP if up else 0,
            CHANGE: IFF_UP,
            MASTER: self._kernel.index(master) if master else 0,
        }
        self._kernel.ask(RTM_SETLINK, values)


@contextlib.contextmanager
def opened_peer(namespace: str) -> Iterator[int]:
    """Yield a descriptor of the namespace in which the other end of a veth is created."""
    fd = named.open_named(namespace)
    try:
        yield fd
    finally:
        os.close(fd)


def _prepare(alias: str) -> None:
    """Set up the loopback of the calling thread's namespace."""
    fd = open_netns(CURRENT)
    try:
        kernel = Kernel(fd)
        try:
            values = {FLAGS: IFF_UP, CHANGE: IFF_UP, IFNAME: LOOPBACK}
            message = kernel.message(RTM_SETLINK, values)
            kernel.send(append(message, IFLA_IFALIAS, alias.encode()))
        finally:
            kernel.close()
    finally:
        os.close(fd)


def _alias_of(name: str) -> str:
    """Return the alias of the loopback; "" where it cannot be read."""
    fd = named.open_named(name)
    try:
        with contextlib.suppress(OSError), contextlib.closing(Kernel(fd)) as kernel:
            return ParsedLink.parse(kernel.ask(RTM_GETLINK, {IFNAME: LOOPBACK})[0]).alias
    finally:
        os.close(fd)
    return ""
