"""How guests use their VNICs: containers, QEMU, libvirt."""

from __future__ import annotations

import json
import os
import socket
import time
from xml.etree import ElementTree

from snnet.cluster import Cluster, Vnic
from snnet.config import VnicRole
from snnet.contract import Conflict, InvalidRequest
from snnet.contract.links import LINK_GROUP
from snnet.core import identity as ids
from snnet.core.qemu import qemu_args
from snnet.system.netns import open_netns
from snnet.system.process import run

HEALING = 15.0
"""Seconds in which an agent makes the links again of a container that has ended."""


def ready_vnic(cluster: Cluster, tenant: str, name: str, role: VnicRole) -> Vnic:
    """A VNIC of a role that is ready.  Conflict says what is missing."""
    vnic = cluster.get_vnic(tenant, name)
    if vnic.role is not role:
        what = "a VM" if role is VnicRole.TENANT_VM else "a container"
        raise Conflict(f"{vnic.title} is not for {what}: create it with the other --role")
    if vnic.link_name is None:
        raise Conflict(
            f"{vnic.title} is {vnic.state}, so that it has no link yet: see 'snnet status'"
        )
    return vnic


def qemu_arguments(cluster: Cluster, tenant: str, name: str) -> str:
    """The arguments of QEMU: the tap, the guest's MAC, and the MTU that virtio tells the guest."""
    vnic = ready_vnic(cluster, tenant, name, VnicRole.TENANT_VM)
    tap, mtu = str(vnic.link_name), int(vnic.status.details["mtu"])
    return " ".join(qemu_args(tap, vnic.guest_mac, mtu, tap=tap))


def libvirt_interface(cluster: Cluster, tenant: str, name: str) -> str:
    """The element for a domain: a tap that libvirt neither makes nor removes."""
    vnic = ready_vnic(cluster, tenant, name, VnicRole.TENANT_VM)
    element = ElementTree.Element("interface", type="ethernet")
    ElementTree.SubElement(element, "mac", address=vnic.guest_mac)
    ElementTree.SubElement(element, "target", dev=str(vnic.link_name), managed="no")
    ElementTree.SubElement(element, "model", type="virtio")
    ElementTree.SubElement(element, "mtu", size=str(vnic.status.details["mtu"]))
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode")


def attach_container(
    cluster: Cluster, tenant: str, name: str, *, pid: int | None, netns: str | None, device: str
) -> None:
    """Move a container's end into its namespace; give it name, addresses and default routes.

    Called again for an end that is there already, it only configures it.  The end of a container
    that has just ended went with it: the agent has a few seconds to make the VNIC's links again.
    """
    if (pid is None) == (netns is None):
        raise InvalidRequest("give either --pid or --netns")
    vnic = ready_vnic(cluster, tenant, name, VnicRole.TENANT_CONTAINER)
    if not _is_here(vnic):
        raise Conflict(f"{vnic.title} is on node {vnic.node!r}: run this command there")
    network = cluster.get_network(tenant, vnic.network)
    target = open_netns(f"/proc/{pid}/ns/net" if pid else netns)
    try:
        _bring(vnic, device, target)
        for ip, subnet in zip(vnic.ips, network.subnet, strict=True):
            cidr = f"{ip}/{subnet.prefixlen}"
            extra = ["nodad"] if ip.version == 6 else []
            run(["ip", "address", "replace", cidr, "dev", device, *extra], netns=target)
        run(["ip", "link", "set", "dev", "lo", "up"], netns=target)
        run(["ip", "link", "set", "dev", device, "up"], netns=target)
        for gateway in network.gateways:
            route = ["route", "replace", "default", "via", str(gateway), "dev", device]
            run(["ip", f"-{gateway.version}", *route], netns=target)
    finally:
        os.close(target)


def _bring(vnic: Vnic, device: str, target: int) -> None:
    """Have the container's end in the namespace, as ``device``; wait where the agent makes it."""
    peer = str(vnic.status.details["peer_name"])
    end = time.monotonic() + HEALING
    while device not in (there := _names(vnic, target)):
        if _find(peer) is not None:
            # A descriptor of ours: ip(8) knows namespaces by name, pid or path.
            path = f"/proc/{os.getpid()}/fd/{target}"
            run(["ip", "link", "set", "dev", peer, "netns", path, "name", device])
            return
        if there:
            raise Conflict(
                f"the container's end of {vnic.title} is in that namespace as {there[0]}: say "
                f"--as {there[0]}, or rename it there first"
            )
        if time.monotonic() > end:
            raise Conflict(
                f"the container's end of {vnic.title}, {peer}, is neither on this host nor in that "
                f"namespace with the MAC {vnic.guest_mac}: it is in another container, or has "
                "another MAC"
            )
        time.sleep(0.1)


def _is_here(vnic: Vnic) -> bool:
    """Whether this host is the VNIC's node: by its name, or by the alias of a link of the node."""
    if vnic.node == socket.gethostname():
        return True
    links = json.loads(run(["ip", "-json", "link", "show", "group", str(LINK_GROUP)]).stdout)
    owners = {(ids.decode(link.get("ifalias", "")) or {}).get(ids.OWNER) for link in links}
    return vnic.node is not None and str(ids.Owner("cn", vnic.node)) in owners


def _names(vnic: Vnic, target: int) -> list[str]:
    """What the VNIC's end is called in the namespace, by its MAC; empty if it is not there."""
    links = json.loads(run(["ip", "-json", "link", "show", "type", "veth"], netns=target).stdout)
    return [link["ifname"] for link in links if link.get("address") == vnic.guest_mac]


def _find(link: str) -> int | None:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return None
