"""Traffic control: the discipline at a link's root, and where what a link receives goes.

Sources: net/sched/sch_api.c, sch_tbf.c, act_mirred.c.
"""

from __future__ import annotations

from snnet.contract import Redirect, Shaper
from snnet.contract.shaping import RATE_MAX

from .refusal import Refusal
from .state import State


class ShaperRules:
    """Add, change and remove token bucket filters."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Shaper) -> None:
        _need_link(self._state, noun.link)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        _check_rate(noun)
        self._state.put(noun)

    def change(self, noun: Shaper, old: Shaper) -> None:
        self._find(old)
        _check_rate(noun)
        self._state.put(noun)

    def remove(self, noun: Shaper) -> None:
        self._state.drop(self._find(noun))

    def _find(self, noun: Shaper) -> Shaper:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        if not isinstance(found, Shaper):
            raise Refusal("ENOENT")
        return found


class RedirectRules:
    """Add and remove redirects; one whose target goes leads nowhere (mirred_device_event)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Redirect) -> None:
        _need_link(self._state, noun.link)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        if not noun.to:
            return
        _need_link(self._state, noun.to)
        self._state.targets.add(noun.to)
        self._state.put(noun)

    def change(self, noun: Redirect, old: Redirect) -> None:
        raise Refusal("EOPNOTSUPP", "a redirect cannot be changed in place")

    def remove(self, noun: Redirect) -> None:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        if not isinstance(found, Redirect):
            raise Refusal("ENOENT")
        self._state.drop(found)


def lose_target(state: State, name: str) -> None:
    """Have redirects to a link that is removed lead nowhere."""
    state.targets.discard(name)
    for noun in list(state.nouns.values()):
        if isinstance(noun, Redirect) and noun.to == name:
            state.put(Redirect(link=noun.link, to=""))


def _need_link(state: State, name: str) -> None:
    if state.link(name) is None:
        raise Refusal("ENODEV", f"no link {name}")


def _check_rate(noun: Shaper) -> None:
    if not 8 <= noun.rate <= RATE_MAX:
        raise Refusal("EINVAL", f"{noun.rate} bits a second is no rate")
