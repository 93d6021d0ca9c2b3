"""Rules that choose a routing table by the source (rtnetlink(7), RTM_NEWRULE; ip-rule(8))."""

from __future__ import annotations

from ipaddress import ip_network
from struct import Struct
from typing import Any

from snnet.contract import PolicyRule
from snnet.contract.network import SNNET_PROTOCOL

from .encoder import U8, U32, Field
from .kernel import (
    CREATE,
    EXCLUSIVE,
    FAMILIES,
    RTM_DELRULE,
    RTM_GETRULE,
    RTM_NEWRULE,
    Kernel,
    attributes,
    by_family,
    ip,
    number,
)

# struct fib_rule_hdr, linux/fib_rules.h: family, destination and source lengths, tos, table,
# two reserved bytes, action, flags
_HEADER = Struct("=BBBBBBBBI")
_BODY = 16
_ATTRIBUTES = _BODY + _HEADER.size
_FRA_SRC, _FRA_PRIORITY, _FRA_SUPPRESS, _FRA_TABLE, _FRA_PROTOCOL = 2, 6, 14, 15, 21
_TO_TABLE = 1  # FR_ACT_TO_TBL
_NEVER = 0xFFFFFFFF

_ANOTHER = Field("table", value=0)
_ACTION = Field("action", value=_TO_TABLE)
_LENGTH = Field("src_len", U8)
_SOURCE = by_family("FRA_SRC")
_PRIORITY = Field("FRA_PRIORITY", U32)
_TABLE = Field("FRA_TABLE", U32)
_PROTOCOL = Field("FRA_PROTOCOL", U8, SNNET_PROTOCOL)
_SPECIFIC = Field("FRA_SUPPRESS_PREFIXLEN", U32, 0)

Values = dict[Field, Any]


class Policies:
    """The rules of snnet in one network namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, noun: PolicyRule) -> None:
        self._kernel.ask(RTM_NEWRULE, _values(noun), CREATE | EXCLUSIVE)

    def remove(self, noun: PolicyRule) -> None:
        self._kernel.ask(RTM_DELRULE, _values(noun))

    def find(self, noun: PolicyRule) -> PolicyRule | None:
        listed = self._listed(noun.source.version)
        return next((found for found in listed if found.key == noun.key), None)

    def snapshot(self) -> list[PolicyRule]:
        return [noun for version in FAMILIES for noun in self._listed(version)]

    def _listed(self, version: int) -> list[PolicyRule]:
        messages = self._kernel.dump(RTM_GETRULE, {FAMILIES[version]: None})
        return [noun for message in messages if (noun := _parse(message)) is not None]


def _values(noun: PolicyRule) -> Values:
    version = noun.source.version
    values: Values = {
        FAMILIES[version]: None,
        _ANOTHER: None,
        _ACTION: None,
        _LENGTH: noun.source.prefixlen,
        _SOURCE[version]: noun.source.network_address,
        _PRIORITY: noun.priority,
        _TABLE: noun.table,
        _PROTOCOL: None,
    }
    if noun.specific:
        values[_SPECIFIC] = None
    return values


def _parse(message: bytes) -> PolicyRule | None:
    """Return the rule, or None for one that is not snnet's."""
    _, to, length, tos, _, _, _, action, flags = _HEADER.unpack_from(message, _BODY)
    found = attributes(message, _ATTRIBUTES)
    source = found.get(_FRA_SRC)
    ours = found.get(_FRA_PROTOCOL) == bytes([SNNET_PROTOCOL])
    if not ours or source is None or (to, tos, action, flags) != (0, 0, _TO_TABLE, 0):
        return None
    suppressed = number(found[_FRA_SUPPRESS]) if _FRA_SUPPRESS in found else _NEVER
    return PolicyRule(
        source=ip_network((ip(source), length)),
        table=number(found[_FRA_TABLE]),
        priority=number(found.get(_FRA_PRIORITY, b"")),
        specific=suppressed == 0,
    )
