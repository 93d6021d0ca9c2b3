"""The network driver: networks and endpoints (moby, ``libnetwork/docs/remote.md``)."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_interface
from typing import Any

from snnet.config import VnicConfig, VnicRole, check_mac, check_network
from snnet.contract import Conflict, InvalidRequest, SnnetError
from snnet.core.addressing import check_guest, check_ipv4, check_subnet, mac_for
from snnet.core.compute import ROUTED_GATEWAY, Subnet, Vnic
from snnet.node import ComputeNode

from . import messages
from .book import NETWORK, Address, Book, Endpoint, Network, Pool
from .options import (
    BRIDGE,
    CONCENTRATOR_IP,
    SUBNET_ID,
    SUBNET_KEY,
    TENANT,
    generic,
    is_internal,
    refuse_ports,
    subnet_fields,
)

SPACE = "snnet"
"""The address space of our IPAM driver: one for all pools, for none is known by its CIDR."""

ORPHANED = 120.0
"""Seconds after which Docker has forgotten an endpoint that no container has.

It joins one right after it was created, and deletes it right after it was left; whatever
it has no answer to for 30 s it gives up.
"""

_CONNECTED = 1
"""Type of a route that needs no next hop (types.CONNECTED in libnetwork)."""

_log = logging.getLogger("snnet.docker")


class NetworkDriver:
    """Maps Docker's networks and endpoints onto the subnets and VNICs of a node.

    Every call may be repeated, as Docker does that where it had no answer.
    """

    def __init__(
        self, book: Book, node: ComputeNode, clock: Callable[[], float] = time.time
    ) -> None:
        self._book = book
        self._node = node
        self._clock = clock
        self._turns = Turns()

    # -- networks ----------------------------------------------------------------------

    def create_network(self, message: messages.CreateNetwork) -> dict[str, Any]:
        """Remember the network, once it is sure that the node can have it."""
        network, pool = self._network(message)
        known = self._book.networks.get(network.id)
        if known is not None and known != network:
            raise Conflict(f"network {network.id} is there already, and is another one")
        if known is None and not network.bridge:
            self._try_out(network)
        with self._book.lock:
            if pool is None:
                self._book.write(network)
                return {}
            mine = [
                one.model_copy(update={"holder": NETWORK})
                for one in self._book.addresses.all()
                if one.pool_id == pool.id and not one.holder
            ]
            self._book.write(network, pool.model_copy(update={"network_id": network.id}), *mine)
        return {}

    def delete_network(self, message: messages.OfNetwork) -> dict[str, Any]:
        """Forget the network, and whatever endpoints Docker has forgotten already."""
        self.forget_network(message.NetworkID)
        return {}

    def forget_network(self, network_id: str) -> None:
        """As Docker deletes it; harmless where there is none."""
        while True:
            for endpoint in self._endpoints_of(network_id):
                self._delete(endpoint.id)
            with self._book.lock:
                if not self._endpoints_of(network_id):
                    network = self._book.networks.get(network_id)
                    self._book.write(remove=[network] if network else [])
                    return

    def _endpoints_of(self, network_id: str) -> list[Endpoint]:
        return [one for one in self._book.endpoints.all() if one.network_id == network_id]

    def _network(self, message: messages.CreateNetwork) -> tuple[Network, Pool | None]:
        options = generic(message.Options)
        if message.IPv6Data:
            raise InvalidRequest("tenants are IPv4: leave out --ipv6", field="IPv6Data")
        if len(message.IPv4Data) != 1:
            raise InvalidRequest(
                f"a network is one subnet of a tenant, not {len(message.IPv4Data)}",
                field="IPv4Data",
            )
        data = message.IPv4Data[0]
        subnet = check_subnet(check_network(data.Pool, "Pool"), "Pool")
        gateway = _interface(data.Gateway, "Gateway").ip if data.Gateway else None
        pools = self._pools(message.NetworkID, data, subnet, gateway)
        if BRIDGE in options:
            there = self._subnet_of(options[BRIDGE], subnet)
            fields: dict[str, Any] = {
                "tenant_id": there.tenant_id,
                "subnet_id": there.subnet_id,
                "bridge": options[BRIDGE],
            }
        else:
            fields = self._fields(options)
            pools = [pool for pool in pools if pool.tenant_id in ("", fields["tenant_id"])]
            if "subnet_id" not in fields:
                fields["subnet_id"] = _subnet_id(pools)
        network = Network(
            id=message.NetworkID,
            subnet=subnet,
            gateway=gateway,
            internal=is_internal(message.Options),
            **fields,
        )
        return network, _pool_of(network, pools)

    def _fields(self, options: Mapping[str, str]) -> dict[str, Any]:
        """What the options say of a network that VNICs are to be made on."""
        if TENANT not in options:
            raise InvalidRequest(
                f"is needed: give -o {TENANT}=, or -o {BRIDGE}= for VNICs that are there",
                field=TENANT,
            )
        for name in () if self._node.routed else (SUBNET_KEY, CONCENTRATOR_IP):
            if name not in options:
                raise InvalidRequest(f"is needed: give -o {name}=", field=name)
        return subnet_fields(options)

    def _pools(
        self,
        network_id: str,
        data: messages.IpamData,
        subnet: IPv4Network,
        gateway: IPv4Address | None,
    ) -> list[Pool]:
        """The pools that may be the network's: Docker does not say which is."""
        if data.AddressSpace != SPACE:
            return []  # of another IPAM driver
        return [
            pool
            for pool in self._book.pools.all()
            if pool.subnet == subnet
            and pool.network_id in ("", network_id)
            and (gateway is None or self._book.addresses.get(f"{pool.id}/{gateway}"))
        ]

    def _subnet_of(self, bridge: str, network: IPv4Network) -> Subnet:
        for subnet in self._node.topology().subnets:
            if subnet.network_name == bridge:
                if subnet.network != network:
                    raise InvalidRequest(
                        f"{bridge} is {subnet.network}: give this as --subnet", field="Pool"
                    )
                return subnet
        raise InvalidRequest(
            f"this node has no bridge {bridge!r}: create_vnic makes it, and its container_info "
            "has its name",
            field=BRIDGE,
        )

    def _try_out(self, network: Network) -> None:
        """Refuse what the node would refuse to the first container."""
        vnics = self._node.topology().vnics
        taken = {vnic.ip for vnic in vnics if vnic.id[:2] == (network.tenant_id, network.subnet_id)}
        free = (ip for ip in network.subnet.hosts() if ip not in taken)
        next(free)  # the gateway's
        if (ip := next(free, None)) is not None:
            probe = self._made(network, "probe", ip, None)
            self._node.plan_create_vnic(_vnic_config(network, probe))

    # -- endpoints ---------------------------------------------------------------------

    def create_endpoint(self, message: messages.CreateEndpoint) -> dict[str, Any]:
        """Make the VNIC of a container, or find the one that is there for it."""
        network = self._known_network(message.NetworkID)
        refuse_ports(message.Options)
        if message.Interface.AddressIPv6:
            raise InvalidRequest("tenants are IPv4", field="AddressIPv6")
        if not message.Interface.Address:
            raise InvalidRequest("is needed: the network's IPAM driver gave none", field="Address")
        ip = check_guest(_interface(message.Interface.Address, "Address").ip, network.subnet)
        given = message.Interface.MacAddress
        mac = check_mac(given, "MacAddress") if given else None
        self.remove_orphans(ORPHANED)
        with self._turns.of(message.EndpointID):
            wanted = self._endpoint(network, message.EndpointID, ip, mac)
            known = self._book.endpoints.get(wanted.id)
            if known is not None:
                self._check_same(known, wanted)
            else:
                self._take_address(network, wanted)
            if wanted.made:
                try:
                    self._node.create_vnic(_vnic_config(network, wanted))
                except BaseException:
                    if known is None:
                        self._give_back(wanted)
                    raise
        # What was given must not be given back: Docker takes that for a change.
        return {"Interface": {} if given else {"MacAddress": wanted.mac}}

    def _endpoint(
        self, network: Network, endpoint_id: str, ip: IPv4Address, mac: str | None
    ) -> Endpoint:
        if network.bridge:
            vnic = self._vnic_with(network, ip)
            if mac not in (None, vnic.mac):
                raise Conflict(
                    f"VNIC {vnic.vnic_id} has the MAC {vnic.mac}: leave out --mac-address, or "
                    "give this one"
                )
            made = self._made(network, endpoint_id, ip, vnic.mac)
            return made.model_copy(update={"vnic_id": vnic.vnic_id, "made": False})
        return self._made(network, endpoint_id, ip, mac)

    def _made(
        self, network: Network, endpoint_id: str, ip: IPv4Address, mac: str | None
    ) -> Endpoint:
        return Endpoint(
            id=endpoint_id,
            network_id=network.id,
            tenant_id=network.tenant_id,
            subnet_id=network.subnet_id,
            vnic_id=_vnic_id(endpoint_id),
            ip=ip,
            mac=mac or mac_for(ip),
            made=True,
            since=self._clock(),
        )

    def _vnic_with(self, network: Network, ip: IPv4Address) -> Vnic:
        for vnic in self._node.topology().vnics:
            if vnic.id[:2] == (network.tenant_id, network.subnet_id) and vnic.ip == ip:
                if vnic.role is not VnicRole.TENANT_CONTAINER:
                    raise Conflict(f"{ip} belongs to VNIC {vnic.vnic_id}, which is a VM's")
                return vnic
        raise Conflict(
            f"no VNIC of {network.bridge} has {ip}: create_vnic comes first, and docker run "
            "has to be given its address (--ip)"
        )

    def _check_same(self, known: Endpoint, wanted: Endpoint) -> None:
        same = known.model_copy(update={"joined": wanted.joined, "since": wanted.since})
        if same != wanted:
            raise Conflict(f"endpoint {known.id} is there already, and is another one")

    def _take_address(self, network: Network, endpoint: Endpoint) -> None:
        """Note down the endpoint, before anything is made, and that the address is its."""
        with self._book.lock:
            self._known_network(network.id)
            for other in self._book.endpoints.all():
                if other.place == endpoint.place:
                    raise Conflict(f"{endpoint.ip} belongs to endpoint {other.id}")
            addresses = [
                Address(pool_id=pool.id, ip=endpoint.ip, holder=endpoint.id, since=self._clock())
                for pool in self._book.pools.all()
                if pool.network_id == network.id
            ]
            for address in addresses:
                found = self._book.addresses.get(address.key)
                if found is not None and found.holder:
                    raise Conflict(f"{endpoint.ip} belongs to {found.holder}")
            self._book.write(endpoint, *addresses)

    def delete_endpoint(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """Remove the VNIC if it was made for the endpoint; harmless where there is none."""
        self._delete(message.EndpointID)
        return {}

    def _delete(self, endpoint_id: str, *, unless_joined: bool = False) -> bool:
        """Whether it was there, and is gone."""
        with self._turns.of(endpoint_id):
            endpoint = self._book.endpoints.get(endpoint_id)
            if endpoint is None or (unless_joined and endpoint.joined):
                return False
            if endpoint.made:
                self._node.destroy_vnic(_identity(endpoint))
            self._give_back(endpoint)
            return True

    def _give_back(self, endpoint: Endpoint) -> None:
        """Forget the endpoint; its address is free once Docker releases it."""
        with self._book.lock:
            held = [one for one in self._book.addresses.all() if one.holder == endpoint.id]
            freed = [one.model_copy(update={"holder": "", "since": self._clock()}) for one in held]
            self._book.write(*freed, remove=[endpoint])

    def endpoint_info(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """What ``docker inspect`` may show of the endpoint."""
        network, endpoint = self._known(message)
        return {
            "Value": {
                "snnet.tenant": network.tenant_id,
                "snnet.subnet_id": network.subnet_id,
                "snnet.vnic_id": endpoint.vnic_id,
                "snnet.ip": str(endpoint.ip),
                "snnet.mac": endpoint.mac,
            }
        }

    def join(self, message: messages.Join) -> dict[str, Any]:
        """The container's end of the veth, for Docker to move into the container."""
        with self._turns.of(message.EndpointID):
            network, endpoint = self._known(message)
            if endpoint.made:
                # Mends what was deleted, and finds what is there.
                vnic = self._node.create_vnic(_vnic_config(network, endpoint)).vnic
            else:
                vnic = self._vnic_with(network, endpoint.ip)
            self._set_joined(endpoint, True)
        answer: dict[str, Any] = {
            "InterfaceName": {"SrcName": vnic.peer_name, "DstPrefix": "eth"},
            "DisableGatewayService": True,
        }
        if network.internal:
            return answer
        if self._node.routed:
            host = {"Destination": f"{ROUTED_GATEWAY}/32", "RouteType": _CONNECTED, "NextHop": ""}
            return answer | {"Gateway": str(ROUTED_GATEWAY), "StaticRoutes": [host]}
        return answer | {"Gateway": str(network.gateway or vnic.gateway)}

    def leave(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """Note that no container has it: Docker has moved the veth's end back."""
        with self._turns.of(message.EndpointID):
            endpoint = self._book.endpoints.get(message.EndpointID)
            if endpoint is not None:
                self._set_joined(endpoint, False)
        return {}

    def _set_joined(self, endpoint: Endpoint, joined: bool) -> None:
        change = {"joined": joined, "since": self._clock()}
        self._book.write(endpoint.model_copy(update=change))

    # -- what nobody comes back for ------------------------------------------------------

    def remove_orphans(self, older_than: float = 0.0) -> None:
        """Remove the endpoints that no container has had for so long (seconds).

        When Docker itself has just been started, that is all of them.  What cannot be
        removed is logged, and tried again the next time.
        """
        now = self._clock()
        for endpoint in self._book.endpoints.all():
            if not endpoint.joined and now - endpoint.since >= older_than:
                with contextlib.suppress(SnnetError):
                    self.given_up(endpoint.id)

    def given_up(self, endpoint_id: str) -> None:
        """Remove an endpoint, if no container has it, that Docker has forgotten without a word.

        It does that when its DeleteEndpoint, or CreateEndpoint, had no answer.
        """
        try:
            if self._delete(endpoint_id, unless_joined=True):
                _log.warning("endpoint %s, which Docker has forgotten, is removed", endpoint_id)
        except SnnetError as error:
            _log.warning("endpoint %s, which Docker has forgotten, is left: %s", endpoint_id, error)
            raise

    # -- looking up ----------------------------------------------------------------------

    def _known_network(self, network_id: str) -> Network:
        network = self._book.networks.get(network_id)
        if network is None:
            raise InvalidRequest(f"no network {network_id}", field="NetworkID")
        return network

    def _known(self, message: messages.OfEndpoint) -> tuple[Network, Endpoint]:
        network = self._known_network(message.NetworkID)
        endpoint = self._book.endpoints.get(message.EndpointID)
        if endpoint is None or endpoint.network_id != network.id:
            raise InvalidRequest(
                f"no endpoint {message.EndpointID} on network {network.id}", field="EndpointID"
            )
        return network, endpoint


class Turns:
    """One call after the other for each id."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Wait for this id's turn."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
            self._users[name] += 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name], self._locks[name]


def _identity(endpoint: Endpoint) -> VnicConfig:
    return VnicConfig(
        role=VnicRole.TENANT_CONTAINER,
        tenant_id=endpoint.tenant_id,
        subnet_id=endpoint.subnet_id,
        vnic_id=endpoint.vnic_id,
    )


def _vnic_config(network: Network, endpoint: Endpoint) -> VnicConfig:
    return replace(
        _identity(endpoint),
        instance_id=endpoint.vnic_id,
        concentrator_id=network.concentrator_id,
        concentrator_ip=network.concentrator_ip,
        subnet=network.subnet,
        subnet_key=network.subnet_key,
        ip=endpoint.ip,
        mac=endpoint.mac,
        mtu=network.mtu,
    )


def _vnic_id(endpoint_id: str) -> str:
    """Half of Docker's 256-bit id as a UUID, which a link's alias has room for."""
    if re.fullmatch(r"[0-9a-f]{64}", endpoint_id):
        return str(uuid.UUID(endpoint_id[:32]))
    return endpoint_id


def _subnet_id(pools: list[Pool]) -> str:
    """The subnet id that the network's pool was given, where there is no doubt."""
    found = {pool.subnet_id for pool in pools if pool.subnet_id}
    if len(found) == 1:
        return found.pop()
    doubt = f"is one of {', '.join(sorted(found))}" if found else "is needed"
    raise InvalidRequest(
        f"{doubt}: give -o {SUBNET_ID}=, or --ipam-driver with --ipam-opt {TENANT}= and "
        f"--ipam-opt {SUBNET_ID}=",
        field=SUBNET_ID,
    )


def _pool_of(network: Network, pools: list[Pool]) -> Pool | None:
    """The pool that serves the network, if it is sure which it is.

    Pools of one subnet share their addresses, so that it does not matter which of them.
    """
    scope = (network.tenant_id, network.subnet_id)
    same = [pool for pool in pools if (pool.tenant_id, pool.subnet_id) == scope]
    if same:
        return max(same, key=lambda pool: (pool.network_id, pool.since))
    return pools[0] if len(pools) == 1 and not pools[0].subnet_id else None


def _interface(text: str, field: str) -> IPv4Interface:
    """An address with its prefix length, as Go writes an IPNet."""
    try:
        found = ip_interface(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no address with a prefix length", field=field) from None
    check_ipv4(found.ip, field)
    assert isinstance(found, IPv4Interface)
    return found
