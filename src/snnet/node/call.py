"""The interface of a call: what it claims, drafts and publishes."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from snnet.contract import NOTHING, Announcement, Key, Link, Noun, Outcome, Plan
from snnet.core.records import Records

from .claims import Claim, Held, Thing
from .host import HostView
from .results import Event


class Mode(enum.Enum):
    """What happens when an operation of the plan fails."""

    ALL_OR_NOTHING = enum.auto()
    """What took effect is undone, and the call raises the cause."""
    PRESS_ON = enum.auto()
    """The rest is still tried, and the call raises ``Incomplete`` for what is left."""
    REPORT = enum.auto()
    """The rest is still tried, and the result says what is left."""


@dataclass(slots=True)
class Draft:
    """What a call would do, and to which of the things it claims.

    ``scope`` says for each thing of the claim which nouns belong to it, so that no
    plan can touch what its call does not claim.
    """

    plan: Plan = NOTHING
    scope: dict[Thing, set[Key]] = field(default_factory=dict)
    strays: list[Link] = field(default_factory=list)
    """Links that stay, although the call may mean them: their names do not fit their aliases."""


@dataclass(slots=True)
class Done:
    """The result of a plan: its ``outcome``, and the keys of nouns ``left`` to change."""

    outcome: Outcome
    left: set[Key]


R = TypeVar("R", bound=Records)
K = TypeVar("K")
D = TypeVar("D", bound=Draft)
T = TypeVar("T")


class Call(ABC, Generic[R, K, D, T]):
    """One call of a node; the constructor checks all arguments.

    The engine takes the call's ``claim``, lets it ``read`` the records and ``draft`` a
    plan by a look at the host, carries out the plan and lets the call ``publish`` the
    result.  The type parameters are the records of the role, what ``read`` returns, the
    draft and the result.
    """

    what: str
    """The name of the call in messages: "create_vnic v1"."""

    intends: bool = True
    """Whether it may add intents; it settles recorded ones in any case."""

    mode: Mode = Mode.ALL_OR_NOTHING

    tidies: bool = False
    """Whether nothing of the node is on the host afterwards but its nouns, rules' leftovers too."""

    inspects: ClassVar[bool] = False
    """Whether the call looks at the result of its plan, with ``inspect``."""

    trusts: ClassVar[bool] = False
    """Whether the first draft may rely on the records without looking at the host."""

    @abstractmethod
    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        """Return what the call needs; with ``alone`` it will also change what it could share.

        ``held`` says which things other calls hold exclusively.  Runs with the lock
        held, and again after each wait.
        """

    @abstractmethod
    def read(self, records: R, claim: Claim) -> K:
        """Return the part of the records that the draft depends on.

        Raises Conflict if it contradicts the call.  Runs with the lock held.
        """

    @abstractmethod
    def draft(self, known: K, host: HostView) -> D:
        """Return the plan, from what the node knows and what is on the host.  Changes nothing."""

    def intents(self, draft: D) -> Mapping[tuple[str, ...], Sequence[Noun]]:
        """Return what to record before the plan is carried out, by the things of the claim."""
        return {}

    def inspect(self, draft: D, host: HostView) -> None:
        """Look at what the plan made, before it is published."""

    @abstractmethod
    def publish(self, records: R, draft: D, done: Done) -> tuple[T, Sequence[Event]]:
        """Record what took effect; return the result, and the events for listeners.

        Runs with the lock held.
        """

    def announces(self, records: R, draft: D) -> Sequence[Announcement]:
        """Return what to announce to neighbours, which may not ask, after the plan.

        Runs with the lock held: of a set-up before ``publish``, since nothing that takes time
        may come after that, and of other calls after it.
        """
        return ()

    def abandon(self, records: R, draft: D) -> None:
        """Record what a failed rollback left, so that a later call can remove it.

        Runs with the lock held.
        """
