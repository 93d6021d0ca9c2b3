"""The error tree, and the one table from errno to class."""

from __future__ import annotations

import errno

import pytest

import snnet
from snnet.contract import (
    Add,
    ApiError,
    Bridge,
    Busy,
    Cancelled,
    Conflict,
    Denied,
    DriverLoadError,
    DriverNotFound,
    Exhausted,
    Exists,
    FatalError,
    Incomplete,
    Inside,
    InvalidRequest,
    Missing,
    Namespace,
    Rejected,
    SnnetError,
    Timeout,
    Unsupported,
    Veto,
    error_for,
)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("EEXIST", Exists),
        ("ENODEV", Missing),
        ("ENXIO", Missing),
        ("EADDRNOTAVAIL", Missing),
        ("ESRCH", Missing),
        ("ENOENT", Missing),
        ("EBUSY", Busy),
        ("EADDRINUSE", Busy),
        ("EPERM", Denied),
        ("EACCES", Denied),
        ("ENOMEM", Exhausted),
        ("ENOBUFS", Exhausted),
        ("EMFILE", Exhausted),
        ("ENFILE", Exhausted),
        ("ENOSPC", Exhausted),
        ("EXFULL", Exhausted),
        ("EOPNOTSUPP", Unsupported),
        ("EAFNOSUPPORT", Unsupported),
        ("EPROTONOSUPPORT", Unsupported),
        ("EINVAL", Rejected),
        ("ERANGE", Rejected),
        ("ELOOP", Rejected),
    ],
)
def test_each_errno_has_its_class(name: str, cls: type[ApiError]) -> None:
    error = error_for(getattr(errno, name), "add bridge br0", operation="op")
    assert type(error) is cls
    assert error.errno == getattr(errno, name)
    assert error.operation == "op"
    assert str(error).startswith("cannot add bridge br0: ")
    assert name in str(error)


def test_an_unknown_errno_is_a_rejection_that_says_its_number() -> None:
    error = error_for(4095, "add bridge br0", detail="the kernel's own words")
    assert type(error) is Rejected
    assert "4095" in str(error)
    assert str(error).endswith("the kernel's own words")


def test_the_tree_is_the_documented_one() -> None:
    for cls in (InvalidRequest, DriverNotFound, DriverLoadError, ApiError, FatalError):
        assert cls.__base__ is SnnetError
    for kind in (
        Timeout, Cancelled, Conflict, Veto, Unsupported, Incomplete, Exists, Missing, Busy, Denied,
        Exhausted, Rejected,
    ):  # fmt: skip
        assert kind.__base__ is ApiError
        assert getattr(snnet, kind.__name__) is kind


def test_an_invalid_request_names_the_field() -> None:
    assert str(InvalidRequest("is wrong", field="ip")) == "ip: is wrong"
    assert InvalidRequest("is wrong", field="ip").field == "ip"
    assert str(InvalidRequest("is wrong")) == "is wrong"
    assert InvalidRequest("is wrong").field is None


def test_what_is_left_is_listed() -> None:
    assert FatalError("x", leftovers=iter([1, 2])).leftovers == (1, 2)
    unfinished = Incomplete("x", leftovers=[1], tunnel_event="event", container_info="info")
    assert unfinished.leftovers == (1,)
    assert (unfinished.tunnel_event, unfinished.container_info) == ("event", "info")
    assert Incomplete("x").leftovers == FatalError("x").leftovers == ()


def test_what_eperm_asks_for_is_what_the_noun_needs() -> None:
    """Namespaces are made and entered with another capability than links."""
    link = error_for(errno.EPERM, "add bridge b", operation=Add(Bridge(name="b")))
    assert "this needs CAP_NET_ADMIN: run as root, or a container with --cap-add NET_ADMIN" in str(
        link
    )
    for noun in (Namespace(name="n"), Inside(namespace=Namespace(name="n"), what=Bridge(name="b"))):
        said = str(error_for(errno.EPERM, "add it", operation=Add(noun)))
        assert said.endswith(
            "this needs CAP_SYS_ADMIN: run as root, or a container with --cap-add SYS_ADMIN"
        )
