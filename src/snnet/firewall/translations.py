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
    IPAddress,
    Key,
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
    """The port forwards and public addresses of a namespace, of all owners.

    They are known from the last look at all rules until somebody else changes rules.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch: Hashable | None = None
        self._read: Iterable[Noun] = ()
        self._rules: dict[Key, Noun] | None = None
        self._leading: dict[Hashable, set[Key]] = {}
        """The rules that may lead to a guest, or take packets for an address."""

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

        None where that is not certain without looking at them, or there are too many.
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
        if self._lead(("forward", *at, target)) or self._lead(("public", target)):
            return None
        return [Sweep(Match(*_taken_by(forward), reply_source=target), target_translated=True)]

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
        taking = [*self._lead(("address", None)), *self._lead(("address", public))]
        own = reach.addresses_of(rule.device, 4)
        if own is None or len(taking) + len(own) > SWEEPS_MAX:
            return None
        if len(self._lead(("public", internal))) > 1 or self._lead(("target", internal)):
            return None
        return [
            # What went to the host or nowhere, or where a forward led it.
            Sweep(Match(original_destination=public), target_translated=False),
            *(
                Sweep(Match(one.protocol, public, one.port, reply_source=one.target))
                for one in taking
                if isinstance(one, PortForward) and one.target.version == 4
            ),
            # What the guest opened with an address of the device; answers to it inside the
            # tenant are translated at both ends.
            *(
                Sweep(
                    Match(original_source=internal, reply_destination=address),
                    target_translated=False,
                    source_translated=True,
                )
                for address in own
                if address != public
            ),
        ]

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


def _taken_by(forward: PortForward) -> tuple[str, IPAddress | None, int]:
    """Return the fields of a ``Match`` that say what a forward takes."""
    return forward.protocol, forward.address, forward.port


def _leads(noun: Noun) -> list[Hashable]:
    """Return what a rule may lead to, and the address whose packets it takes."""
    match noun:
        case PortForward(protocol=protocol, port=port, target=target, address=address):
            return [("forward", protocol, port, target), ("target", target), ("address", address)]
        case PublicIp(internal=internal):
            return [("public", internal)]
    return []
