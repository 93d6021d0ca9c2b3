"""Other namespaces of the host, each a fake kernel of its own, and links that are attached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snnet.contract import Attached, Link, Missing, Namespace

from .links import LinkRules
from .refusal import Refusal
from .state import State

NAME_MAX = 255
"""The longest name of a file (NAME_MAX, linux/limits.h)."""


_ANOTHER = "no such namespace, or another one has its name"


def check_same(noun: Namespace, state: State) -> None:
    """Raise ``Missing`` if there is no such namespace, or another one with its name."""
    if not _is_same(noun, state):
        raise Missing(f"namespace {noun.name}: {_ANOTHER}")


def _is_same(noun: Namespace, state: State) -> bool:
    return bool(noun.alias) and state.nouns.get(noun.key) == noun


class NamespaceRules:
    """Namespaces are added and removed with everything in them."""

    def __init__(self, state: State, make: Callable[[str], State]) -> None:
        self._state = state
        self._make = make

    def add(self, noun: Namespace) -> None:
        name = noun.name
        if not name or name in (".", "..") or "/" in name or "\0" in name or len(name) > NAME_MAX:
            raise Refusal("EINVAL", f"{name!r} is not the name of a namespace")
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.children[name] = self._make(name)
        self._state.put(noun)

    def change(self, noun: Namespace, old: Namespace) -> None:
        raise Refusal("EOPNOTSUPP", "a namespace cannot be changed in place")

    def remove(self, noun: Namespace) -> None:
        if not _is_same(noun, self._state):
            raise Refusal("ENOENT", _ANOTHER)
        child = self._state.children[noun.name]
        for name in list(child.far):
            LinkRules(child).vanish(name)
        del self._state.children[noun.name]
        self._state.drop(noun)


class AttachmentRules:
    """Links that others created come up, and join a bridge."""

    def __init__(self, state: State, links: LinkRules) -> None:
        self._state = state
        self._links = links

    def find(self, noun: Attached) -> Attached | None:
        link = self._state.link(noun.link)
        return None if link is None or not link.up else Attached(link=link.name, master=link.master)

    def add(self, noun: Attached) -> None:
        link = self._existing(noun)
        if link.up:
            raise Refusal("EEXIST", f"{link.name} is up already")
        self._links.change(replace(link, up=True, master=noun.master), link)

    def change(self, noun: Attached, old: Attached) -> None:
        link = self._existing(noun)
        if not link.up:
            raise Refusal("ENOENT", f"{link.name} is down")
        self._links.change(replace(link, master=noun.master), link)

    def remove(self, noun: Attached) -> None:
        link = self._existing(noun)
        if not link.up:
            raise Refusal("ENOENT", f"{link.name} is down already")
        self._links.change(replace(link, up=False, master=None), link)

    def _existing(self, noun: Attached) -> Link:
        link = self._state.link(noun.link)
        if link is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        if noun.master is not None and self._state.link(noun.master) is None:
            raise Refusal("ENODEV", f"no link {noun.master}")
        return link
