"""What rules translate to, known without reading them: which connections end with a rule.

Telling the connections that no rule allows from those that one does takes a list of them, for
which the kernel locks each place of its table in turn.  Where no other rule leads to the same
guest, all of a rule's connections end with it, and the kernel finds them by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Sequence

from snnet.contract import (
    Add,
    Change,
    Key,
    Masquerade,
    Noun,
    Operation,
    PortForward,
    PublicIp,
    Remove,
)
from snnet.system.conntrack import Match, Sweep
from snnet.system.reach import Reach

SWEEPS_MAX = 24
"""The kernel searches its table once for each: with more of them a list is the shorter way."""


class Translations:
    """The port forwards, public addresses and masquerades of a namespace, of all owners.

    They are known from the last look at all rules until somebody else changes rules.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch: Hashable | None = None
        self._read: Iterable[Noun] = ()
        self._rules: dict[Key, Noun] | None = None
        self._leading: dict[Hashable, set[Key]] = {}
        """The rules that may lead to a guest, and those that translate what leaves."""

    def learn(self, epoch: Hashable | None, rules: Iterable[Noun]) -> None:
        """Take these for all rules, in this epoch of the firewall; None: they are not known."""
        with self._lock:
            self._epoch, self._read, self._rules = epoch, rules, None

    def follow(self, operations: Iterable[Operation]) -> None:
        """Take note of the operations that took effect."""
        with self._lock:
            for operation in operations:
                match operation:
                    case Change():
                        self._epoch = None
                    case Remove():
                        self._drop(operation.noun)
                    case _:
                        self._note(operation.noun)

    def sweeps(
        self, epoch: Hashable | None, operation: Operation, reach: Reach
    ) -> Sequence[Sweep] | None:
        """Return the connections that end with the operation, which took effect.

        None where that is not certain without looking at them.
        """
        with self._lock:
            if epoch is None or epoch != self._epoch:
                return None
            match operation:
                case Remove(noun=PortForward() as forward) if forward.target.version == 4:
                    return self._of_forward(forward)
                case Remove(noun=PublicIp() as public) if public.public.version == 4:
                    return self._of_removed(public, reach)
                case Add(noun=PublicIp() as public) if public.public.version == 4:
                    return self._of_added(public, reach)
        return None

    def _of_forward(self, forward: PortForward) -> Sequence[Sweep] | None:
        target, at = forward.target, (forward.protocol, forward.port)
        taken = Match(forward.protocol, forward.address, forward.port, reply_source=target)
        if self._lead(("forward", *at, target)) or self._lead(("public", target)):
            return None
        return [Sweep(taken, target_translated=True)]

    def _of_removed(self, rule: PublicIp, reach: Reach) -> Sequence[Sweep] | None:
        public, internal = rule.public, rule.internal
        if self._lead(("target", internal)) or self._lead(("public", internal)):
            return None
        if reach.is_local(public):
            return None  # it may be the address that the device masquerades with
        return [
            Sweep(Match(original_destination=public, reply_source=internal)),
            Sweep(Match(original_source=internal, reply_destination=public)),
        ]

    def _of_added(self, rule: PublicIp, reach: Reach) -> Sequence[Sweep] | None:
        public, internal = rule.public, rule.internal
        if len(self._lead(("public", internal))) > 1 or self._lead(("target", internal)):
            return None
        if reach.first_address(rule.device) == public:
            return None  # connections that were masqueraded with it continue
        if any(one.device != rule.device for one in self._masquerades()):
            return None  # and those that leave by another device
        # Whatever it was: rules that are not known any more may have led it elsewhere.
        return [
            Sweep(Match(original_destination=public)),
            # Answers inside the tenant are translated at both ends.
            Sweep(Match(original_source=internal), target_translated=False, source_translated=True),
        ]

    def _masquerades(self) -> list[Masquerade]:
        return [one for one in self._lead("masquerade") if isinstance(one, Masquerade)]

    def _lead(self, what: Hashable) -> list[Noun]:
        """Return the rules that may lead there."""
        rules = self._known()
        return [rules[key] for key in self._leading.get(what, ())]

    def _known(self) -> dict[Key, Noun]:
        if self._rules is None:
            self._rules, self._leading = {}, {}
            for noun in self._read:
                self._note(noun)
            self._read = ()
        return self._rules

    def _note(self, noun: Noun) -> None:
        if leads := _leads(noun):
            self._known()[noun.key] = noun
            for what in leads:
                self._leading.setdefault(what, set()).add(noun.key)

    def _drop(self, noun: Noun) -> None:
        known = self._known().pop(noun.key, None) if _leads(noun) else None
        for what in _leads(known) if known is not None else ():
            self._leading[what].discard(noun.key)


def _leads(noun: Noun) -> list[Hashable]:
    """Return what a rule may lead to, or that it translates what leaves."""
    match noun:
        case PortForward(protocol=protocol, port=port, target=target):
            return [("forward", protocol, port, target), ("target", target)]
        case PublicIp(internal=internal):
            return [("public", internal)]
        case Masquerade():
            return ["masquerade"]
    return []
