"""Whose a namespace is: what the drivers for a real kernel write into it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from snnet.contract import Driver, Host, Link, Missing, Namespace
from snnet.contract.links import ALIAS_MAX
from snnet.system import named
from snnet.system.host import RealHost
from snnet.system.netns import netns_cookie

LOOPBACK = "lo"


class Marks:
    """The alias of a namespace's loopback: that of the noun, and the host that created it.

    All hosts that share /run/netns see each other's names.  The mark, the cookie of the
    creating host's own namespace, tells whose a name is.
    """

    def __init__(self, netns: int) -> None:
        self._mark = f" h={netns_cookie(netns):x}"

    def write(self, alias: str) -> str:
        """Return the alias of the loopback; ``ValueError`` if it would be too long."""
        text = alias + self._mark
        if len(text.encode()) > ALIAS_MAX:
            raise ValueError(f"the alias is longer than {ALIAS_MAX - len(self._mark)} bytes")
        return text

    def read(self, text: str) -> str:
        """Return the alias of the noun, or an empty one if another host created it."""
        return text[: -len(self._mark)] if text.endswith(self._mark) else ""


def check_same(noun: Namespace, found: Namespace | None) -> None:
    """Raise ``Missing`` if there is no such namespace, or another one with its name."""
    if found is None:
        raise Missing(f"there is no namespace {noun.name}")
    if not noun.alias or found.alias != noun.alias:
        raise Missing(
            f"namespace {noun.name} is gone: its name belongs to another one with alias "
            f"{found.alias!r}, which is left alone"
        )


@contextlib.contextmanager
def opened(backend: type[Driver], outer: Host, name: str, alias: str | None) -> Iterator[Driver]:
    """Open a backend in the namespace of this name, if it has the alias that is given."""
    fd = named.open_named(name)
    try:
        host = RealHost(fd, owner=outer.owner)
    finally:
        os.close(fd)
    try:
        driver = backend(host)  # type: ignore[call-arg]
        try:
            if alias is not None:
                # The name may lead elsewhere any time: ask what is open, not the name.
                loopback = driver.find(Link(name=LOOPBACK))
                mark = loopback.alias if isinstance(loopback, Link) else ""
                there = Namespace(name=name, alias=Marks(outer.netns.fd).read(mark))
                check_same(Namespace(name=name, alias=alias), there)
            yield driver
        finally:
            driver.close()
    finally:
        host.close()
