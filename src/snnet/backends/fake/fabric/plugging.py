"""What is plugged in already, and by which address a station is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface

from snnet.contract import InvalidRequest, IPAddress, IPInterface, Link

from ..kernel import FakeKernel
from .links import Links
from .stack import Stack
from .walk import Station


def check_unused(hosts: Mapping[str, FakeKernel], cidr: str | IPInterface | None) -> None:
    """InvalidRequest if a host has the address: which of the two answers would be chance."""
    try:
        wanted = None if cidr is None else ip_interface(cidr).ip
    except ValueError:
        return  # the kernel's own message is better
    for name, kernel in hosts.items():
        if wanted is not None and wanted in kernel.state.local:
            raise InvalidRequest(f"host {name!r} has the address {wanted}", field="cidr")


def unplugged_veths(stacks: Iterable[Stack]) -> Iterator[tuple[Links, Link, Links, Link]]:
    """Yield the veths between namespaces, with both ends, that have no cable."""
    by_state = {id(stack.station.state): stack.links for stack in stacks}
    for links in by_state.values():
        state = links.station.state
        for near, (there, far) in state.far.items():
            one, other = state.link(near), there.link(far)
            if one and other and links.cable(one) is None and id(there) in by_state:
                yield links, one, by_state[id(there)], other


def main_address(station: Station, version: int | None) -> IPAddress | None:
    """Return the first address, of any version if None, that is not a loopback address."""
    return next(
        (ip for ip in station.state.local if not ip.is_loopback and version in (None, ip.version)),
        None,
    )
