"""Identity: the link alias as the database, and the names of links.

An alias is ``snnet1`` and ``key=value`` fields, which are parsed back exactly.  Ids
contain neither blanks nor ``=``, and never begin with ``~``, which marks a packed
UUID.  Keys that this version does not know are kept: the alias that was found stays
the wanted one.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address

from snnet.contract import (
    LINK_GROUP,
    TUNNELS,
    Bridge,
    Gre,
    Ifb,
    InvalidRequest,
    Link,
    Macvtap,
    Namespace,
    Other,
    Tap,
    Veth,
    Vxlan,
)
from snnet.contract.links import ALIAS_MAX, DYING_GROUPS

VERSION = "snnet1"

OWNER, KIND = "o", "k"
TENANT, SUBNET, VNIC, INSTANCE, CONCENTRATOR = "t", "s", "v", "i", "c"
NETWORK, TUNNEL_KEY, REMOTE, ADDRESS, MAC, MTU, USER = "n", "y", "r", "a", "m", "u", "w"
PORT, LINK = "p", "l"

BRIDGE, TUNNEL, VM, CONTAINER, CNCI_VNIC, MESH = "bridge", "tunnel", "vm", "ct", "port", "mesh"
SPACE, WAY, PLUG, RATE = "space", "way", "plug", "rate"
"""A concentrator's namespace on its host, and the veths into it: out, and to a subnet; and
the ifb of a VNIC."""

_LINK_KINDS = {
    BRIDGE: {*Bridge.kinds},
    TUNNEL: {kind for noun in TUNNELS for kind in noun.kinds},
    VM: {*Tap.kinds},
    CONTAINER: {*Veth.kinds},
    CNCI_VNIC: {*Macvtap.kinds},
    MESH: {*Gre.kinds, *Vxlan.kinds},
    WAY: {*Veth.kinds},
    PLUG: {*Veth.kinds},
    RATE: {*Ifb.kinds},
}
_IDENTITIES = {
    ("cn", BRIDGE): (TENANT, SUBNET),
    ("cn", TUNNEL): (TENANT, SUBNET),
    ("cn", VM): (TENANT, SUBNET, VNIC),
    ("cn", CONTAINER): (TENANT, SUBNET, VNIC),
    ("cn", CNCI_VNIC): (TENANT, VNIC),
    ("cn", WAY): (TENANT, CONCENTRATOR),
    ("cn", PLUG): (TENANT, SUBNET),
    ("cn", RATE): (TENANT, SUBNET, VNIC),
    ("cnci", BRIDGE): (NETWORK,),
    ("cnci", TUNNEL): (NETWORK, REMOTE),
    ("cnci", MESH): (TENANT,),
}
"""The fields of an alias that the link's name is made of, by role and kind."""

NAMES_TRIED = 16
"""Candidate names of one object: a link with its alias has one of them."""

_LETTERS = {
    BRIDGE: "b", TUNNEL: "t", VM: "v", CONTAINER: "v", CNCI_VNIC: "c", MESH: "m",
    SPACE: "n", WAY: "w", PLUG: "q", RATE: "r",
}  # fmt: skip
_ROLES = {"cn": "sn", "cnci": "sc"}


@dataclass(frozen=True, slots=True)
class Owner:
    """A node as the owner of objects: its role (``cn`` or ``cnci``) and its id."""

    role: str
    id: str
    name: str = field(init=False, compare=False)
    """Role and id as one text, as nouns name their owner."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.role}:{self.id}")

    def __str__(self) -> str:
        return self.name

    @property
    def prefix(self) -> str:
        """The beginning of the names of all its links."""
        return _ROLES[self.role]


def encode(owner: Owner, kind: str, fields: dict[str, str]) -> str:
    """Return the alias of an object; InvalidRequest names the longest id if it is too long.

    Addresses, networks, MACs and upper-case UUIDs are packed only if the alias would be too
    long.
    """
    alias = f"{VERSION} o={owner.role}:{_pack(owner.id)} k={kind} " + " ".join(
        [f"{key}={_pack(value) if len(value) == _UUID else value}" for key, value in fields.items()]
    )
    if len(alias) > ALIAS_MAX:
        alias = f"{VERSION} o={owner.role}:{_pack_more(TENANT, owner.id)} k={kind} " + " ".join(
            [f"{key}={_pack_more(key, value)}" for key, value in fields.items()]
        )
    if len(alias) > ALIAS_MAX:
        longest = max(_IDS.keys() & fields, key=lambda key: (len(_pack(fields[key])), key))
        raise InvalidRequest(
            f"the ids of this request need {len(alias)} bytes in the link alias, {ALIAS_MAX} fit: "
            "use shorter ids (UUIDs are packed to 22 characters)",
            field=_IDS[longest],
        )
    return alias


_IDS = {
    TENANT: "tenant_id",
    SUBNET: "subnet_id",
    VNIC: "vnic_id",
    INSTANCE: "instance_id",
    CONCENTRATOR: "concentrator_id",
}


def with_field(owner: Owner, alias: str, key: str, value: str | None) -> str:
    """Return an alias of ours with another value of a field; None leaves the field out."""
    fields = decode(alias) or {}
    if fields.get(key) == value:
        return alias
    kind = fields.pop(KIND)
    others = {name: fields[name] for name in fields if name not in (OWNER, key)}
    return encode(owner, kind, others if value is None else others | {key: value})


def decode(alias: str) -> dict[str, str] | None:
    """Return the fields of an alias of snnet, with ids unpacked; None for a foreign alias."""
    version, *words = alias.split(" ")
    if version != VERSION:
        return None
    fields: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key in fields:
            return None
        fields[key] = _unpack_field(key, value) if "~" in value else value
    return fields


def _unpack_field(key: str, value: str) -> str:
    if key == OWNER:
        role, colon, owner = value.partition(":")
        return f"{role}{colon}{_unpack(owner)}"
    return _unpack_binary(key, value) if value.startswith(_BINARY) else _unpack(value)


_UUID = 36
"""The characters of a UUID."""

_BINARY = "~~"
"""What addresses, networks and MACs begin with where they are packed; a UUID has one ~."""

_UPPER = "U"
"""What comes after a packed UUID that was in upper case."""


def _pack_more(key: str, value: str) -> str:
    """Return a field's value in its shortest form."""
    if key in _IDS:
        return _pack(value.lower()) + _UPPER if _is_upper_uuid(value) else _pack(value)
    if key == MAC:
        return _BINARY + _base64(bytes.fromhex(value.replace(":", "")))
    if key not in (ADDRESS, NETWORK):
        return value
    data = bytearray()
    for word in value.split(","):
        address, _, length = word.partition("/")
        data += ip_address(address).packed + (bytes([int(length)]) if length else b"")
    packed = _BINARY + _base64(bytes(data))
    return packed if len(packed) < len(value) else value


def _unpack_binary(key: str, value: str) -> str:
    """Return what ``_pack_more`` packed; a damaged value stays as it is."""
    text = value[len(_BINARY) :]
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return value
    if key == MAC:
        return data.hex(":")
    extra = 1 if key == NETWORK else 0
    both = len(data) == 4 + 16 + 2 * extra
    words = []
    for size in (4, 16) if both else (len(data) - extra,):
        packed, length, data = data[:size], data[size : size + extra], data[size + extra :]
        if size not in (4, 16):
            return value
        words.append(str(ip_address(packed)) + (f"/{length[0]}" if extra else ""))
    return ",".join(words)


def _is_upper_uuid(value: str) -> bool:
    return value != value.lower() and value == value.upper() and _pack(value.lower())[0] == "~"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@lru_cache(maxsize=4096)
def _pack(value: str) -> str:
    """Return a canonical UUID as ``~`` and 22 characters, and anything else unchanged."""
    if len(value) == _UUID and value[8] == "-":
        try:
            packed = uuid.UUID(value)
        except ValueError:
            return value
        if str(packed) == value:
            return "~" + _base64(packed.bytes)
    return value


@lru_cache(maxsize=4096)
def _unpack(value: str) -> str:
    upper = value[23:]
    if value.startswith("~") and len(value) >= 23 and upper in ("", _UPPER):
        try:
            text = str(uuid.UUID(bytes=base64.urlsafe_b64decode(value[1:23] + "==")))
        except ValueError:
            return value
        return text.upper() if upper else text
    return value


def names(owner: Owner, kind: str, *identity: str) -> Iterator[str]:
    """Yield link names for an object; use the next one if a foreign link has the name.

    The names are deterministic, so a preview shows the names that the call will use: a
    prefix for role and kind, and 50 bits of a hash in base32.
    """
    yield name(owner, kind, *identity)
    for salt in itertools.count(1):
        yield name(owner, kind, *identity, str(salt))


def name(owner: Owner, kind: str, *identity: str) -> str:
    """Return the first of the ``names``."""
    seed = "\0".join((owner.name, kind, *identity))
    return f"{_ROLES[owner.role]}{_LETTERS[kind]}-{hash_text(seed.encode())}"


def hash_number(seed: str) -> int:
    """Return a number of 56 bits by a hash of ``seed``."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=7).digest(), "big")


def hash_text(seed: bytes) -> str:
    """Return ten base32 characters of the hash of ``seed``."""
    bits = int.from_bytes(hashlib.blake2b(seed, digest_size=7).digest(), "big") >> 6
    first, second = _PAIRS[bits >> 40], _PAIRS[bits >> 30 & 1023]
    third, fourth, fifth = _PAIRS[bits >> 20 & 1023], _PAIRS[bits >> 10 & 1023], _PAIRS[bits & 1023]
    return f"{first}{second}{third}{fourth}{fifth}"


_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, section 6, lower-case
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
"""Two characters for ten bits."""


def peer_name(name: str) -> str:
    """Return the name of the container end of the veth called ``name``."""
    return f"{name[:2]}p{name[3:]}"


def is_peer_name(name: str) -> bool:
    """Whether a name is that of the container end of some veth of ours."""
    return len(name) == 14 and name[2:4] == "p-" and name[:2] in _ROLES.values()


def link_mac(name: str) -> str:
    """Return the MAC of a bridge or tunnel: fixed, local, and never the MAC of a guest.

    Default MACs of guests begin with 02:00 and those of host ends with fe, so these
    begin with 06.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
    return "06:" + digest.hex(":")


def host_mac(guest: str) -> str:
    """Return the MAC of the host end of a VNIC whose guest has the MAC ``guest``.

    A bridge delivers frames for the MAC of a port to the host, so the host end must
    have another MAC: like libvirt, snnet sets the first byte to fe.
    """
    return "fe" + guest[2:]


def grouped(link: Link) -> bool:
    """Whether the link is in our link group, or was before a delete that was interrupted."""
    return link.group == LINK_GROUP or link.group in DYING_GROUPS


def claimed(link: Link, owner: Owner) -> dict[str, str] | None:
    """Return the identity of a link that is provably this owner's, else None.

    Provably means: in our link group, with an alias of this owner that fits the kind
    of link.  A foreign link with a copied alias is not ours.
    """
    if not grouped(link) or isinstance(link, Other):
        return None
    fields = decode(link.alias)
    if fields is None or fields.get(OWNER) != str(owner):
        return None
    return fields if link.kind in _LINK_KINDS.get(fields.get(KIND, ""), ()) else None


def owner_of(link: Link) -> str:
    """Return whose the link is by its alias, if it is in our link group; empty if unknown."""
    fields = decode(link.alias) if grouped(link) else None
    return (fields or {}).get(OWNER, "")


def space_of(noun: Namespace, owner: Owner) -> dict[str, str] | None:
    """Return the identity of a concentrator's namespace that is this owner's, else None."""
    fields = decode(noun.alias)
    ours = fields is not None and fields.get(OWNER) == owner.name and fields.get(KIND) == SPACE
    return fields if ours else None


def unmarked(link: Link, owner: Owner) -> bool:
    """Whether group and name say that the link is this owner's, and its alias says nothing."""
    return (
        grouped(link)
        and decode(link.alias) is None
        and not isinstance(link, Other)
        and len(link.name) == 14
        and link.name[:2] == owner.prefix
        and link.name[3] == "-"
    )


def is_ours(link: Link, owner: Owner) -> bool:
    """Whether this owner may change or delete the link."""
    return ours_or_stray(link, owner) is True


def stray(link: Link, owner: Owner) -> tuple[str, ...] | None:
    """Kind and identity that a link claims under a name that they do not have, else None.

    Somebody renamed the link or copied the alias; nothing tells which.
    """
    found = ours_or_stray(link, owner)
    return found if isinstance(found, tuple) else None


def ours_or_stray(link: Link, owner: Owner) -> bool | tuple[str, ...]:
    """Whether the link is this owner's; kind and identity if it only claims them: a stray."""
    fields = claimed(link, owner)
    if fields is None:
        return not link.alias and unmarked(link, owner)  # not yet, or not any more
    return _is_named(link, fields, owner) or (fields[KIND], *_identity(fields, owner))


def lost_group(link: Link, owner: Owner) -> bool:
    """Whether all but its link group says that the link is this owner's: others changed it."""
    again = replace(link, group=LINK_GROUP)
    return not grouped(link) and claimed(again, owner) is not None and is_ours(again, owner)


def _is_named(link: Link, fields: dict[str, str], owner: Owner) -> bool:
    """Whether the link has one of the names of the identity in its alias.

    True if the alias does not hold the whole identity: it is damaged.
    """
    try:
        identity = _identity(fields, owner)
    except KeyError:
        return True
    candidates = names(owner, fields[KIND], *identity)
    return link.name in itertools.islice(candidates, NAMES_TRIED)


def _identity(fields: dict[str, str], owner: Owner) -> tuple[str, ...]:
    return tuple(fields[key] for key in _IDENTITIES[owner.role, fields[KIND]])
