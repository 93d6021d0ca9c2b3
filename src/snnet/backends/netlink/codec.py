"""How one kind of link is written and read: what the modules of ``kinds`` are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from snnet.contract import IPAddress, Link

from .encoder import Field, Slot
from .kernel import ip, number

Values = dict[Field, Any]
IndexOf = Callable[[str], int]
"""Index of the link of this name; raises OSError where there is none."""
NameOf = Callable[[int], str]
"""Name of the link with this index; raises OSError where there is none."""
Common = dict[str, Any]
"""The fields that nouns of every kind have."""
Data = dict[int, bytes]
"""What stands in IFLA_INFO_DATA, by number."""


class LinkMessage(Protocol):
    """What decoders ask of an RTM_NEWLINK outside IFLA_INFO_DATA."""

    @property
    def lower(self) -> int:
        """Index of the link below in this namespace, or 0."""

    @property
    def lower_index(self) -> int:
        """The same in whatever namespace it is."""

    def link_local(self) -> bool:
        """Whether the kernel gives it an IPv6 link-local address when it comes up."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A kind of link: its noun into fields of an RTM_NEWLINK, and back."""

    noun: type[Link]
    encode: Callable[[Any, IndexOf], Values]
    """What the creating message has beyond what every link's has."""
    decode: Callable[[LinkMessage, Common, Data, NameOf], Link | None]
    """The noun, or None for a link that snnet could not have made."""


def info(kind: str, **slots: Slot | int) -> Mapping[str, Field]:
    """The fields of a kind: its name as "kind", and what goes into IFLA_INFO_DATA."""
    fields = {"kind": Field("IFLA_LINKINFO IFLA_INFO_KIND", value=kind)}
    for name, slot in slots.items():
        path = f"IFLA_LINKINFO IFLA_INFO_DATA {name}"
        fields[name] = Field(path, value=slot) if isinstance(slot, int) else Field(path, slot)
    return fields


def address(data: Data, *numbers: int) -> IPAddress | None:
    """The first of these attributes that is a specified address, or None."""
    for attribute in numbers:
        value = data.get(attribute)
        if value and any(value):
            return ip(value)
    return None


def small(data: Data, attribute: int) -> int:
    """A number in the machine's byte order; 0 where the attribute is absent."""
    return number(data.get(attribute, b""))


def big_endian(data: Data, attribute: int) -> int:
    """A number in network byte order; 0 where the attribute is absent."""
    return int.from_bytes(data.get(attribute, b""), "big")


def name_or_none(name_of: NameOf, index: int) -> str | None:
    """A name, or None for no index and for a link that has just gone."""
    if not index:
        return None
    try:
        return name_of(index)
    except OSError:
        return None
