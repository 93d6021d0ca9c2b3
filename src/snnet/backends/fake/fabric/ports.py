"""Where a host is plugged in: on the wire, or behind the CNCI VNIC of another host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from snnet.contract import InvalidRequest, Link, Macvtap, Other, Veth

from ..kernel import FakeKernel
from .guests import Vnic, check_vnic
from .links import Links


def free_uplink(links: Links, name: str) -> Link:
    """Return the uplink of a host, which must not be plugged in yet."""
    link = links.station.state.link(name)
    free_end = isinstance(link, Veth) and link.peer is None
    if link is None or not (free_end or isinstance(link, Other)) or name == "lo":
        raise InvalidRequest(f"{name} on {links.station.name} is not an uplink", field="link_name")
    if links.cable(link) is not None:
        raise InvalidRequest(f"{name} is already plugged in", field="link_name")
    return link


def find_port(
    hosts: Mapping[str, FakeKernel],
    links_of: Callable[[FakeKernel], Links],
    on: Vnic | tuple[FakeKernel, Vnic],
) -> tuple[Links, Macvtap]:
    """Return the macvtap of a VNIC, which must be free; InvalidRequest names what is wrong."""
    kernels, port = ([on[0]], on[1]) if isinstance(on, tuple) else (hosts.values(), on)
    check_vnic(port, "on")
    found = [
        (links_of(kernel), link)
        for kernel in kernels
        if isinstance(link := kernel.state.link(port.link_name), Macvtap)
    ]
    if not found:
        raise InvalidRequest(f"no host has a macvtap {port.link_name}", field="on")
    if len(found) > 1:
        names = ", ".join(links.station.name for links, _ in found)
        raise InvalidRequest(
            f"{names} have a macvtap {port.link_name}: pass on=(kernel, vnic)", field="on"
        )
    links, link = found[0]
    if links.cable(link) is not None:
        raise InvalidRequest(f"{link.name} already has a host", field="on")
    return links, link
