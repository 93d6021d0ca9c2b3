"""One ``apply``: operations checked in memory, committed together, undone on failure."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence

from snnet.contract import (
    Add,
    AntiSpoof,
    ApiError,
    Change,
    FatalError,
    Key,
    Noun,
    Operation,
    Owned,
    PortForward,
    PublicIp,
    Remove,
    SnnetError,
    Zone,
    ZoneLink,
    error_for,
)
from snnet.contract.addresses import is_mac

from . import layout
from .layout import (
    FILTER,
    FILTER6,
    IP,
    IP6,
    NAT,
    NAT6,
    RAW,
    RAW6,
    SECTIONS,
    UNRECORDED,
    Content,
    Section,
)
from .owners import Owners
from .rules import places, render
from .state import State
from .tables import SectionState, Tables

_LINK_FIELDS = ("link", "bridge", "device")


class Ledger:
    """The nouns of one owner, in memory, as operations change them.

    ``broken`` nouns are partly there: they can be added as if they were missing, or removed.
    """

    def __init__(self, nouns: Mapping[Key, Noun], broken: Mapping[Key, Noun]) -> None:
        self.nouns = dict(nouns)
        self.broken = dict(broken)

    def apply(self, operation: Operation) -> None:
        """Record the operation, or raise its error and change nothing."""
        noun = operation.noun
        found = self.nouns.get(noun.key)
        if isinstance(operation, Add):
            self._check_values(operation)
            if isinstance(noun, ZoneLink) and ("zone", noun.owner, noun.zone) not in self.nouns:
                raise _refused("ENOENT", operation, f"there is no zone {noun.zone}")
            if found is not None:
                raise _refused("EEXIST", operation)
        elif found is None and (isinstance(operation, Change) or noun.key not in self.broken):
            raise _refused("ENOENT", operation)
        elif isinstance(operation, Change):
            if found is not None and (wrong := noun.differences(found) - noun.changeable):
                fields = ", ".join(sorted(wrong))
                raise _refused("EOPNOTSUPP", operation, f"{fields} cannot be changed in place")
            self._check_values(operation)
        else:
            if isinstance(noun, Zone) and self._has_links(noun):
                raise _refused("EBUSY", operation, f"zone {noun.zone} has links")
            self.nouns.pop(noun.key, None)
            self.broken.pop(noun.key, None)
            return
        self.nouns[noun.key] = noun
        self.broken.pop(noun.key, None)

    def _has_links(self, zone: Zone) -> bool:
        return any(
            isinstance(noun, ZoneLink) and noun.zone == zone.zone for noun in self.nouns.values()
        )

    def _check_values(self, operation: Operation) -> None:
        """Refuse values that no rule can contain, or that would be read as another."""
        noun = operation.noun
        for name in _LINK_FIELDS:
            link = getattr(noun, name, None)
            if link is not None and not layout.is_link(link):
                raise _refused("EINVAL", operation, f"no rule can name a link {link!r}")
        ids = (noun.owner if isinstance(noun, Owned) else "", getattr(noun, "zone", "-") or " ")
        for text in ids:
            if not layout.is_id(text):
                raise _refused("EINVAL", operation, f"no record can hold the id {text!r}")
        if isinstance(noun, (PortForward, PublicIp)) and (fault := noun.fault()):
            raise _refused("EINVAL", operation, fault)
        if isinstance(noun, AntiSpoof):
            _check_sender(operation, noun)


def _check_sender(operation: Operation, noun: AntiSpoof) -> None:
    if not is_mac(noun.mac):
        raise _refused("EINVAL", operation, f"{noun.mac!r} is not a lower-case MAC")
    for address in noun.addresses:
        if "%" in str(address):
            raise _refused("EINVAL", operation, f"{address} has a zone: leave the zone out")


def _refused(name: str, operation: Operation, detail: str = "") -> ApiError:
    return error_for(getattr(errno, name), str(operation), detail=detail, operation=operation)


_ADDITION = SECTIONS
_REMOVAL = (
    *(section for section in SECTIONS if section.family not in (IP, IP6)),
    *(FILTER6, NAT6, RAW6),
    *(FILTER, NAT, RAW),
)
"""Filter rules are removed before NAT, so that nothing leaves without it; records go last."""


class Work:
    """One ``apply``: each owner's rules are read once at most.

    ``undisturbed`` returns whether certainly nobody else has changed a rule since it began.
    """

    def __init__(
        self,
        tables: Tables,
        owners: Owners,
        operations: Sequence[Operation],
        undisturbed: Callable[[], bool],
    ) -> None:
        self._tables = tables
        self._owners = owners
        self._undisturbed = undisturbed
        places_of = (places(operation.noun, {}) for operation in operations)
        self._families = {section.family for sections in places_of for section in sections} & {
            *UNRECORDED
        }

    def has(self, noun: Owned) -> bool:
        """Return whether a noun of this identity is there."""
        return noun.key in self._state(noun.owner).nouns

    def _state(self, owner: str) -> State:
        return self._owners.state(owner, self._families)

    def commit(self, operations: Sequence[Operation]) -> None:
        """Apply operations of one owner, all removals or none of them; all take effect or none."""
        owner, removing = owner_of(operations[0]), isinstance(operations[0], Remove)
        whole = not self._undisturbed()  # asked first: what is remembered may be wrong by now
        state = self._state(owner)
        ledger = Ledger(state.nouns, state.broken)
        for operation in operations:
            ledger.apply(operation)
        contents = state.differing(ledger.nouns)
        order = _REMOVAL if removing else _ADDITION
        # Whatever ends the writing, an interrupt for example, it may be half done.
        self._owners.forget(owner)
        try:
            self._tables.write(_in_order(order, state.found, contents), whole=whole)
            done = state.written(ledger.nouns, ledger.broken, contents)
            self._owners.put(done)
            if not (whole or self._undisturbed()):
                # Somebody changed rules meanwhile: the numbers may have been those of others.
                self._tables.write(_in_order(order, done.found, contents))
        except SnnetError as error:
            self._owners.forget(owner)
            self._put_back(state, contents, tuple(reversed(order)), error)
            if whole or self._undisturbed():
                raise
            self.commit(operations)  # there may be no rule of that number any more

    def tidy(self, owner: str) -> None:
        """Write what the owner's nouns do not explain: some programs had run, and others not."""
        state = self._owners.state(owner, UNRECORDED, exact=True)
        contents = state.differing(state.nouns)
        self._owners.forget(owner)
        self._tables.write(_in_order(_REMOVAL, state.found, contents))
        self._tables.sweep()
        self._owners.put(state.written(state.nouns, state.broken, contents))

    def _put_back(
        self,
        state: State,
        contents: Mapping[Section, Content],
        order: Sequence[Section],
        error: SnnetError,
    ) -> None:
        """Write the sections as they were before a failed commit."""
        before = render(state.owner, state.nouns)
        try:
            found = self._state(state.owner).found
            old = {section: before.get(section, Content()) for section in contents}
            self._owners.forget(state.owner)
            self._tables.write(_in_order(order, found, old))
        except SnnetError as again:
            tables = [f"{family} table {table}" for family, table in contents]
            raise FatalError(
                f"{error}; and then putting back what was there failed: {again}", leftovers=tables
            ) from error


def _in_order(
    order: Sequence[Section],
    found: Mapping[Section, SectionState],
    contents: Mapping[Section, Content],
) -> list[tuple[Section, SectionState, Content]]:
    return [
        (section, found.get(section, SectionState()), contents[section])
        for section in order
        if section in contents
    ]


def owner_of(operation: Operation) -> str:
    noun = operation.noun
    return noun.owner if isinstance(noun, Owned) else ""
