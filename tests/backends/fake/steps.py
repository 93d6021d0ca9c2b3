"""Short functions for what most tests of the fake do."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_interface, ip_network

from snnet.backends.fake import FakeKernel
from snnet.contract import (
    Add,
    Address,
    ApiError,
    Bridge,
    Driver,
    Link,
    Neighbour,
    Noun,
    Operation,
    Remove,
    Route,
    Tap,
)


def do(driver: Driver, *operations: Operation) -> None:
    """Apply the operations; each must take effect."""
    outcome = driver.apply(operations)
    assert outcome.error is None, outcome.error
    assert outcome.done == set(range(len(operations)))


def add(driver: Driver, *nouns: Noun) -> None:
    do(driver, *map(Add, nouns))


def remove(driver: Driver, *nouns: Noun) -> None:
    do(driver, *map(Remove, nouns))


def refusal(driver: Driver, operation: Operation) -> str:
    """Apply an operation that must fail without effect; return its errno's name."""
    before = driver.snapshot()
    error = driver.apply([operation]).error
    assert isinstance(error, ApiError), f"{operation} was not refused"
    assert error.errno is not None
    assert error.operation is operation
    assert driver.snapshot() == before
    # Linux has two names for 95; the kernel's is EOPNOTSUPP.
    name = errno.errorcode[error.errno]
    return "EOPNOTSUPP" if name == "ENOTSUP" else name


def link(kernel: FakeKernel, name: str) -> Link:
    found = kernel.find(Link(name=name))
    assert isinstance(found, Link)
    return found


def tap(name: str, master: str | None = None, **values: object) -> Tap:
    return Tap(name=name, master=master, **values)  # type: ignore[arg-type]


def bridge(name: str, **values: object) -> Bridge:
    return Bridge(name=name, **values)  # type: ignore[arg-type]


def address(cidr: str, name: str) -> Address:
    return Address(link=name, address=ip_interface(cidr))


def route(destination: str, name: str, via: str | None = None, onlink: bool = False) -> Route:
    return Route(
        destination=ip_network(destination),
        link=name,
        gateway=ip_address(via) if via else None,
        onlink=onlink,
    )


def neighbour(ip: str, lladdr: str, name: str) -> Neighbour:
    return Neighbour(link=name, address=ip_address(ip), lladdr=lladdr)
