"""Messages: encoded once, patched ever after.  No kernel needed."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from struct import Struct

import pytest

from snnet.backends import netlink
from snnet.backends.netlink.codec import kind_field
from snnet.backends.netlink.encoder import (
    BE32,
    IP4,
    IP6,
    MAC,
    NAME,
    TEXT,
    U8,
    U32,
    Field,
    append,
    encode,
    encode_with_pyroute2,
    message_classes,
    numbers_of,
)
from snnet.backends.netlink.kernel import FAMILIES, attributes, text
from snnet.backends.netlink.layouts import ADDRESS as ADDRESSES
from snnet.backends.netlink.layouts import HEADERS, LINK, NEIGHBOUR, ROUTE, RULE, TRAFFIC
from snnet.system.netlink import NetlinkError

INDEX = Field("index", U32)
FLAGS = Field("flags", U32)
IFNAME = Field("IFLA_IFNAME", NAME)
ADDRESS = Field("IFLA_ADDRESS", MAC)
MTU = Field("IFLA_MTU", U32)
KIND = Field("IFLA_LINKINFO IFLA_INFO_KIND", TEXT, "gretap")
LOCAL = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_LOCAL", IP4, number=6)
KEY = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_IKEY", BE32, number=4)
TTL = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_TTL", U8, number=8)

VALUES = {
    INDEX: 0x01020304,
    FLAGS: 1,
    IFNAME: "eth0",
    ADDRESS: "02:00:00:00:00:07",
    MTU: 1500,
    KIND: None,
    LOCAL: IPv4Address("192.0.2.1"),
    KEY: 7,
    TTL: 64,
}


def test_every_value_is_in_its_place() -> None:
    for mtu in (1500, 1400):
        message = bytes(encode(LINK, 16, 5, {**VALUES, MTU: mtu}))
        assert struct.unpack_from("=IHHII", message) == (len(message), 16, 5, 0, 0)
        assert struct.unpack_from("=BxHiII", message, 16) == (0, 0, 0x01020304, 1, 0)
        found = attributes(message, 32)
        assert text(found[3]) == "eth0"
        assert found[1].hex() == "020000000007"
        assert found[4] == struct.pack("=I", mtu)
        info = attributes(found[18])
        assert text(info[1]) == "gretap"
        data = attributes(info[2])
        assert data[6] == bytes([192, 0, 2, 1])
        assert data[4] == bytes([0, 0, 0, 7])
        assert data[8] == bytes([64])


def test_messages_do_not_share_bytes() -> None:
    one = encode(LINK, 16, 5, VALUES)
    other = encode(LINK, 16, 5, VALUES)
    one[:] = bytes(len(one))
    assert other == encode(LINK, 16, 5, VALUES)


def test_an_attribute_of_any_length_is_appended() -> None:
    for length in (1, 2, 3, 4, 255):
        message = append(encode(LINK, 16, 5, {MTU: 1}), 20, b"x" * length)
        assert len(message) % 4 == 0
        assert struct.unpack_from("=I", message) == (len(message),)
        assert attributes(bytes(message), 32)[20] == b"x" * length


@pytest.mark.parametrize(
    ("field", "value", "number"),
    [
        (IFNAME, "x" * 16, errno.ERANGE),
        (IFNAME, "", errno.EINVAL),
        (IFNAME, "tap%d", errno.EINVAL),
        (IFNAME, "a\0b", errno.EINVAL),
        (ADDRESS, "02:00", errno.ERANGE),
        (ADDRESS, "nonsense", errno.EINVAL),
        (MTU, 1 << 32, errno.EINVAL),
        (MTU, -1, errno.EINVAL),
    ],
)
def test_what_does_not_fit_is_refused_as_by_the_kernel(
    field: Field, value: object, number: int
) -> None:
    with pytest.raises(NetlinkError) as caught:
        encode(LINK, 16, 5, {field: value})
    assert caught.value.errno == number
    assert field.path in caught.value.detail


def test_a_broken_message_ends() -> None:
    assert attributes(bytes(64)) == {0: b""}


LAYOUTS = {
    "IFA": ADDRESSES, "RTA": ROUTE, "NDA": NEIGHBOUR, "FRA": RULE, "TCA": TRAFFIC,
}  # fmt: skip
KINDS = {
    "IFLA_BR": "bridge", "IFLA_GENEVE": "geneve", "IFLA_GRE": "gretap", "IFLA_IP6GRE": "ip6gretap",
    "IFLA_MACVTAP": "macvtap", "IFLA_VXLAN": "vxlan", "VETH_INFO": "veth",
}  # fmt: skip


def _attributes() -> Iterator[Field]:
    """All attributes that the backend's modules have."""
    for module in pkgutil.walk_packages(netlink.__path__, f"{netlink.__name__}."):
        for found in vars(importlib.import_module(module.name)).values():
            for field in found.values() if isinstance(found, dict) else [found]:
                if isinstance(field, Field) and not field.path.islower():
                    yield field


@pytest.mark.parametrize("field", dict.fromkeys(_attributes()), ids=lambda field: field.path)
def test_attributes_are_encoded_as_by_pyroute2(field: Field) -> None:
    """Nothing else says which number an attribute has, so a mistake is found here."""
    assert numbers_of([field]), f"say which number {field.path} has"
    layout = LAYOUTS.get(field.path[:3], LINK)
    before: list[Field] = []
    if "IFLA_INFO_DATA" in field.path:
        of, rest, *_ = field.path.split(" ")[2].split("_")
        before = [kind_field(KINDS[f"{of}_{rest}"])]
    elif layout == ROUTE:
        before = [FAMILIES[6 if field.slot is IP6 else 4]]
    value = field.slot.sample(65) if field.slot and field.value is None else None
    if field.slot is NAME:
        value = "a" * 14  # pyroute2 would end a longer one by a NUL, which the kernel strips
    fields = (*before, field)
    wanted = encode_with_pyroute2((layout, 16, 5, fields), {field: value} if value else {})
    assert encode(layout, 16, 5, dict.fromkeys(fields, value)).hex() == wanted.hex()


def test_headers_are_those_of_pyroute2() -> None:
    for layout, fields in HEADERS.items():
        found = message_classes()[layout].fields
        ours = [tuple(field.split(":")) for field in fields.split(" ")]
        assert Struct("=" + "".join(form for _, form in ours)).size == (
            Struct("=" + "".join(form for _, form in found)).size
        )
        assert [field for field in ours if field[0]] == [
            field for field in found if "pad" not in field[0] and "align" not in field[0]
        ]


def test_what_the_table_lacks_is_encoded_by_pyroute2() -> None:
    queues = Field("IFLA_TXQLEN", U32)
    message = bytes(encode(LINK, 16, 5, {MTU: 1500, queues: 7}))
    assert attributes(message, 32)[13] == struct.pack("=I", 7)


def test_the_backend_loads_pyroute2_only_for_what_the_table_lacks() -> None:
    code = (
        "import sys, snnet.backends.netlink;"
        "assert not [name for name in sys.modules if name.startswith('pyroute2')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
