"""Named namespaces, and links in this one that others created."""

from __future__ import annotations

import contextlib
import errno
import functools
from dataclasses import replace
from typing import Protocol

from snnet.backends.iproute2.commands import commands
from snnet.backends.namespaces import LOOPBACK, Marks, check_same
from snnet.contract import Add, Attached, Change, Link, Missing, Namespace, Remove
from snnet.system import named

from .errors import Refused
from .shell import Shell

_IS_GONE = "network namespace"
"""In all that ip(8) says about a namespace that it cannot enter (netns_switch, lib/namespace.c)."""


class Namespaces:
    """The namespaces with a name; see ``snnet.backends.namespaces`` for whose they are.

    A process that is killed between the two commands of a creation leaves a namespace
    without an alias.
    """

    def __init__(self, shell: Shell, netns: int) -> None:
        self._shell = shell
        self._netns = netns

    @functools.cached_property
    def _marks(self) -> Marks:
        return Marks(self._netns)

    def add(self, noun: Namespace) -> None:
        named.check_name(noun.name)
        if named.exists(noun.name):
            raise Refused(errno.EEXIST)
        marked = replace(noun, alias=self._marks.write(noun.alias))
        first, *rest = commands(Add(marked))
        self._shell.carry_out([first])
        try:
            self._shell.carry_out(rest)
        except BaseException:
            with contextlib.suppress(Exception):
                self._shell.carry_out(commands(Remove(noun)))
            raise

    def remove(self, noun: Namespace) -> None:
        check_same(noun, self.find(noun))
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Namespace) -> Namespace | None:
        if not named.exists(noun.name):
            return None
        look = ["ip", "-n", noun.name, "-json", "link", "show", "dev", LOOPBACK]
        try:
            rows = self._shell.rows(look, elsewhere=True)
        except Refused as error:
            if _IS_GONE not in str(error):
                raise
            return None  # it went meanwhile, or another program is still making it
        alias = rows[0].get("ifalias", "") if rows else ""
        return Namespace(name=noun.name, alias=self._marks.read(alias))

    def snapshot(self) -> list[Namespace]:
        found = (self.find(Namespace(name=name)) for name in named.named())
        return [noun for noun in found if noun is not None and noun.alias]


class LookUp(Protocol):
    """What is asked about links."""

    def look_up(self, name: str) -> Link: ...


class Attachments:
    """Links that are up, and their bridges."""

    def __init__(self, shell: Shell, links: LookUp) -> None:
        self._shell = shell
        self._links = links

    def add(self, noun: Attached) -> None:
        if self._links.look_up(noun.link).up:
            raise Refused(errno.EEXIST, f"{noun.link} is up already")
        self._shell.carry_out(commands(Add(noun)))

    def change(self, new: Attached, old: Attached) -> None:
        if self.find(new) is None:
            raise Missing(f"{new.link} is down")
        self._shell.carry_out(commands(Change(new, old)))

    def remove(self, noun: Attached) -> None:
        if self.find(noun) is None:
            raise Missing(f"{noun.link} is down already")
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Attached) -> Attached | None:
        link = self._links.look_up(noun.link)
        return Attached(link=noun.link, master=link.master) if link.up else None

    def snapshot(self) -> list[Attached]:
        return []
