"""How one kind of link is written and read; the modules of ``kinds`` use this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from snnet.contract import IPAddress, Link

from .encoder import TEXT, Field, Slot
from .kernel import ip, number

Values = dict[Field, Any]
IndexOf = Callable[[str], int]
"""Returns the index of the link with this name; raises OSError if there is none."""
NameOf = Callable[[int], str]
"""Returns the name of the link with this index; raises OSError if there is none."""
Common = dict[str, Any]
"""The fields that nouns of every kind have."""
Attribute = tuple[int, Slot] | tuple[int, Slot, int]
"""The number and the type of an attribute in IFLA_INFO_DATA, and its value if it is constant."""
Data = dict[int, bytes]
"""The attributes in IFLA_INFO_DATA, by number."""


class LinkMessage(Protocol):
    """What decoders need of an RTM_NEWLINK outside IFLA_INFO_DATA."""

    @property
    def lower(self) -> int:
        """The index of the lower link if it is in this namespace, else 0."""

    @property
    def lower_index(self) -> int:
        """The index of the lower link in any namespace, or 0."""

    def all_multicast(self) -> bool:
        """Whether the link receives all multicast."""

    def link_local(self) -> bool:
        """Whether the kernel gives the link an IPv6 link-local address when it comes up."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One kind of link: converts its noun to fields of an RTM_NEWLINK, and back."""

    noun: type[Link]
    encode: Callable[[Any, IndexOf], Values]
    """Returns the fields of the creating message that are particular to this kind."""
    decode: Callable[[LinkMessage, Common, Data, NameOf], Link | None]
    """Returns the noun, or None for a link that snnet cannot have created."""


def info(kind: str, **attributes: Attribute) -> Mapping[str, Field]:
    """Return the fields of a kind: its name as "kind", and those in IFLA_INFO_DATA."""
    fields = {"kind": kind_field(kind)}
    for name, (at, slot, *constant) in attributes.items():
        value = constant[0] if constant else None
        fields[name] = Field(f"IFLA_LINKINFO IFLA_INFO_DATA {name}", slot, value, at)
    return fields


@cache
def kind_field(kind: str) -> Field:
    """Return the field that names the kind of a link: the same one for each kind."""
    return Field("IFLA_LINKINFO IFLA_INFO_KIND", TEXT, kind)


def address(data: Data, *numbers: int) -> IPAddress | None:
    """Return the first of these attributes that is a specified address, or None."""
    for attribute in numbers:
        value = data.get(attribute)
        if value and any(value):
            return ip(value)
    return None


def small(data: Data, attribute: int) -> int:
    """Return a number in the machine's byte order; 0 if the attribute is absent."""
    return number(data.get(attribute, b""))


def big_endian(data: Data, attribute: int) -> int:
    """Return a number in network byte order; 0 if the attribute is absent."""
    return int.from_bytes(data.get(attribute, b""), "big")


def name_or_none(name_of: NameOf, index: int) -> str | None:
    """Return a name, or None for index 0 and for a link that no longer exists."""
    if not index:
        return None
    try:
        return name_of(index)
    except OSError:
        return None
