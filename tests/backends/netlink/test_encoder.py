"""Messages: encoded once by pyroute2, patched ever after.  No kernel needed."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from ipaddress import IPv4Address

import pytest

from snnet.backends.netlink.encoder import (
    BE32,
    IP4,
    LINK,
    MAC,
    NAME,
    U8,
    U32,
    Encoder,
    Field,
    append,
)
from snnet.backends.netlink.kernel import attributes, text
from snnet.system.netlink import NetlinkError

INDEX = Field("index", U32)
FLAGS = Field("flags", U32)
IFNAME = Field("IFLA_IFNAME", NAME)
ADDRESS = Field("IFLA_ADDRESS", MAC)
MTU = Field("IFLA_MTU", U32)
KIND = Field("IFLA_LINKINFO IFLA_INFO_KIND", value="gretap")
LOCAL = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_LOCAL", IP4)
KEY = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_IKEY", BE32)
TTL = Field("IFLA_LINKINFO IFLA_INFO_DATA IFLA_GRE_TTL", U8)

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
    encoder = Encoder()
    for mtu in (1500, 1400):
        message = bytes(encoder.message(LINK, 16, 5, {**VALUES, MTU: mtu}))
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
    encoder = Encoder()
    one = encoder.message(LINK, 16, 5, VALUES)
    other = encoder.message(LINK, 16, 5, VALUES)
    one[:] = bytes(len(one))
    assert other == encoder.message(LINK, 16, 5, VALUES)


def test_an_attribute_of_any_length_is_appended() -> None:
    for length in (1, 2, 3, 4, 255):
        message = append(Encoder().message(LINK, 16, 5, {MTU: 1}), 20, b"x" * length)
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
        Encoder().message(LINK, 16, 5, {field: value})
    assert caught.value.errno == number
    assert field.path in caught.value.detail


def test_a_broken_message_ends() -> None:
    assert attributes(bytes(64)) == {0: b""}


def test_nothing_but_the_backend_loads_pyroute2() -> None:
    code = (
        "import sys, snnet.contract, snnet.system.host, snnet.system.netlink;"
        "assert not [name for name in sys.modules if name.startswith('pyroute2')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
