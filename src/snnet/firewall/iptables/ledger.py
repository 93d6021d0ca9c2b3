"""Whether an operation may be: told from an owner's nouns alone, before anything is done."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from snnet.contract import (
    PROTOCOLS,
    Add,
    AntiSpoof,
    ApiError,
    Change,
    Key,
    Noun,
    Operation,
    Owned,
    PortForward,
    Zone,
    ZoneLink,
    error_for,
)

from . import names

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LINK_FIELDS = ("link", "bridge", "device")


class Ledger:
    """The nouns of one owner as operations change them, in memory.

    ``broken`` are those of which something is left: to be added as if they were
    not there, or removed.
    """

    def __init__(self, nouns: Mapping[Key, Noun], broken: Mapping[Key, Noun]) -> None:
        self.nouns = dict(nouns)
        self.broken = dict(broken)

    def apply(self, operation: Operation) -> None:
        """Take the operation in, or raise the error for it and stay as it was."""
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
        """What could not be written as a rule, or would be read as another one."""
        noun = operation.noun
        for name in _LINK_FIELDS:
            link = getattr(noun, name, None)
            if link is not None and not names.is_link(link):
                raise _refused("EINVAL", operation, f"no rule can name a link {link!r}")
        ids = (noun.owner if isinstance(noun, Owned) else "", getattr(noun, "zone", "-") or " ")
        for text in ids:
            if not names.is_id(text):
                raise _refused("EINVAL", operation, f"no record can hold the id {text!r}")
        if isinstance(noun, PortForward):
            _check_port_forward(operation, noun)
        if isinstance(noun, AntiSpoof):
            _check_sender(operation, noun)


def _check_port_forward(operation: Operation, noun: PortForward) -> None:
    if noun.protocol not in PROTOCOLS:
        raise _refused("EINVAL", operation, f"no ports in protocol {noun.protocol!r}")
    for port in (noun.port, noun.target_port):
        if not 0 < port < 2**16:
            raise _refused("EINVAL", operation, f"{port} is no port")


def _check_sender(operation: Operation, noun: AntiSpoof) -> None:
    if not _MAC.fullmatch(noun.mac):
        raise _refused("EINVAL", operation, f"{noun.mac!r} is no MAC in lower case")
    for address in noun.addresses:
        if "%" in str(address):
            raise _refused("EINVAL", operation, f"{address} with a zone: leave it out")


def _refused(name: str, operation: Operation, detail: str = "") -> ApiError:
    return error_for(getattr(errno, name), str(operation), detail=detail, operation=operation)
