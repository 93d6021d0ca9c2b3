"""A call as a thing: what it claims, what it drafts, and what it publishes."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from snnet.contract import NOTHING, Key, Link, Noun, Outcome, Plan
from snnet.core.records import Records

from .claims import Claim, Held, Thing
from .host import HostView
from .results import Event


class Mode(enum.Enum):
    """What becomes of the rest of a plan when one of its operations fails."""

    ALL_OR_NOTHING = enum.auto()
    """Nothing: what took effect is undone, and the call raises the cause."""
    PRESS_ON = enum.auto()
    """It is still tried, and the call raises ``Incomplete`` for what is left."""
    REPORT = enum.auto()
    """It is still tried, and the result says what is left."""


@dataclass(slots=True)
class Draft:
    """What a call would do, and to which of the things it claims.

    ``scope`` says for each thing of the claim which nouns belong to it, so that no
    plan can touch what its call does not claim.
    """

    plan: Plan = NOTHING
    scope: dict[Thing, set[Key]] = field(default_factory=dict)
    strays: list[Link] = field(default_factory=list)
    """Links that may be what the call is to remove, and stay: their names are not theirs."""


@dataclass(slots=True)
class Done:
    """What came of a plan: ``outcome``, and the identities of what is ``left`` to do."""

    plan: Plan
    outcome: Outcome
    left: set[Key]


R = TypeVar("R", bound=Records)
K = TypeVar("K")
D = TypeVar("D", bound=Draft)
T = TypeVar("T")


class Call(ABC, Generic[R, K, D, T]):
    """One call of a node, checked whole at construction.

    The engine asks for its ``claim``, has it ``read`` what the node knows, has it
    ``draft`` a plan by a look at the host, carries the plan out and has it ``publish``
    what came of it.  The type parameters are the records of the role, what ``read``
    returns, the draft and the result.
    """

    what: str
    """The call for messages: "create_vnic v1"."""

    mode: Mode = Mode.ALL_OR_NOTHING

    inspects: ClassVar[bool] = False
    """Whether the call looks at what its plan brought, by ``inspect``."""

    trusts: ClassVar[bool] = False
    """Whether the first draft may take what the node knows for granted."""

    @abstractmethod
    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        """What the call needs; ``alone``: it will also change what it could share.

        ``held`` says what other calls hold for themselves alone.  Runs with the lock
        held, again after each wait.
        """

    @abstractmethod
    def read(self, records: R, claim: Claim) -> K:
        """What the node knows that the draft depends on.

        Raises Conflict where it contradicts the call.  Runs with the lock held.
        """

    @abstractmethod
    def draft(self, known: K, host: HostView) -> D:
        """The plan, by what the node knows and what is on the host.  Changes nothing."""

    def intents(self, draft: D) -> Mapping[tuple[str, ...], Sequence[Noun]]:
        """What to record before the plan is carried out, by the things of the claim."""
        return {}

    def inspect(self, draft: D, host: HostView) -> None:
        """Look at what the plan brought, before it is published."""

    @abstractmethod
    def publish(self, records: R, draft: D, done: Done) -> tuple[T, Sequence[Event]]:
        """Record what came true; the result, and the events for listeners.

        Runs with the lock held.
        """

    def abandon(self, records: R, draft: D) -> None:
        """Record what a failed rollback left, so that a later call can remove it.

        Runs with the lock held.
        """
