"""What programs say, as errno and class of error.  No kernel needed."""

from __future__ import annotations

import errno

import pytest

from snnet.backends.iproute_shell.errors import Refused, errno_of, refusal, translated
from snnet.contract import ApiError, Busy, Denied, Exists, Missing, Rejected, Timeout, Unsupported
from snnet.system.process import Completed

SAID: list[tuple[str, int | None, type[ApiError]]] = [
    ("RTNETLINK answers: File exists", errno.EEXIST, Exists),
    ("RTNETLINK answers: No such process", errno.ESRCH, Missing),
    ("RTNETLINK answers: Device or resource busy", errno.EBUSY, Busy),
    ("RTNETLINK answers: Operation not permitted", errno.EPERM, Denied),
    ("ioctl(TUNSETIFF): Device or resource busy", errno.EEXIST, Exists),
    ("ioctl(TUNSETIFF): Operation not permitted", errno.EPERM, Denied),
    ("open: No such file or directory", errno.ENOENT, Missing),
    ('Cannot find device "x"', errno.ENODEV, Missing),
    ('Device "x" does not exist.', errno.ENODEV, Missing),
    ('Error: argument "x" is wrong: Device does not exist\n', errno.ENODEV, Missing),
    ("Error: Unknown device type.", errno.EOPNOTSUPP, Unsupported),
    ("Error: A VXLAN device with the specified VNI already exists.", errno.EEXIST, Exists),
    ("Error: ipv4: Address already assigned.", errno.EEXIST, Exists),
    ("Error: ipv6: address not found.", errno.EADDRNOTAVAIL, Missing),
    ("Error: ipv6: IPv6 is disabled on this device.", errno.EACCES, Denied),
    ("Error: IPv6 is disabled on this device.", errno.EINVAL, Rejected),
    ("Error: ipv4: FIB table does not exist.\nDump terminated", errno.ENOENT, Missing),
    ("Error: Can not enslave a bridge to a bridge.", errno.ELOOP, Rejected),
    ("Error: Device does not allow enslaving to a bridge.", errno.EOPNOTSUPP, Unsupported),
    ("Error: mtu greater than device maximum.", errno.EINVAL, Rejected),
    ("Error: Nexthop device is not up.", errno.ENETDOWN, Rejected),
    ("Error: Nexthop has invalid gateway.", None, Rejected),
    ('Error: argument "x" is wrong: Invalid "mtu" value\n', None, Rejected),
    ('Error: inet prefix is expected rather than "x".', None, Rejected),
    ('"no" is invalid lladdr.', None, Rejected),
    ('sysctl: setting key "net.ipv4.ip_forward": Invalid argument', errno.EINVAL, Rejected),
    ("sysctl: permission denied on key 'net.ipv4.ip_forward'", None, ApiError),
    ("Error: The moon is in the wrong phase.", None, ApiError),
]


def refused(done: Completed, *, batch: bool = False) -> Refused:
    error = refusal(done, batch=batch)
    assert isinstance(error, Refused)
    return error


@pytest.mark.parametrize(("text", "number", "cls"), SAID)
def test_words(text: str, number: int | None, cls: type[ApiError]) -> None:
    assert errno_of(text) == number
    error = translated(refused(Completed(2, "", text)), "do it")
    assert isinstance(error, ApiError)
    assert type(error) is cls
    assert "cannot do it" in str(error)
    assert text.strip().splitlines()[0] in str(error)
    assert error.errno == number


def test_the_line_of_a_batch() -> None:
    said = "RTNETLINK answers: File exists\nCommand failed -:3\n"
    error = refused(Completed(1, "", said), batch=True)
    assert (error.position, error.number) == (2, errno.EEXIST)
    assert error.said == "RTNETLINK answers: File exists"
    error = refused(Completed(255, "", 'Error: argument "x" is wrong: nonsense'), batch=True)
    assert error.position is None


def test_who_was_killed_refused_nothing() -> None:
    error = refusal(Completed(-9, "", ""))
    assert type(error) is ApiError
    assert "signal 9" in str(error)


def test_what_is_an_error_already_stays() -> None:
    error = Timeout("killed")
    assert translated(error, "do it") is error
    assert isinstance(translated(OSError(errno.EMFILE, "x"), "do it"), ApiError)
    assert isinstance(translated(Refused(errno.ENODEV), "do it"), Missing)
