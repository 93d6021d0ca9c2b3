"""Endpoints: the connections of containers to networks, and their VNICs."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

from snnet.checks import check_mac
from snnet.config import VnicRole
from snnet.contract import Conflict, FatalError, InvalidRequest, SnnetError
from snnet.contract.addresses import of_family
from snnet.core.addressing import Addresses, mac_for, written
from snnet.core.requests import VnicId
from snnet.core.vnics import Vnic

from . import messages
from .options import assigned, refuse_ports
from .pools import GRACE, Pools
from .state import Document, Endpoint, Network, State
from .vnics import Vnics, identity_of

_CONNECTED = 1
"""Type of a route that needs no next hop (types.CONNECTED in libnetwork)."""

_GATEWAYS = {4: "Gateway", 6: "GatewayIPv6"}
"""Fields of an answer to Join, by IP version."""

_log = logging.getLogger("snnet.docker")


class Endpoints:
    """Creates, maps and destroys the VNICs of endpoints.

    An endpoint is stored before its VNIC is created and removed from the store after its
    VNIC is destroyed.  So the store knows every VNIC of the plugin, whenever the plugin is
    killed.  Every call may be repeated.
    """

    def __init__(self, state: State, pools: Pools, vnics: Vnics) -> None:
        self._state = state
        self._pools = pools
        self._vnics = vnics
        self._locks = KeyedLocks()
        self._last_sweep = 0.0

    # -- requests of Docker ------------------------------------------------------------

    def create(self, message: messages.CreateEndpoint) -> dict[str, Any]:
        """Create the VNIC of a container, or map the existing VNIC with its address."""
        network = self._network(message.NetworkID)
        refuse_ports(message.Options)
        ips = assigned(network.subnets, message.Interface)
        given = message.Interface.MacAddress
        mac = check_mac(given, "MacAddress") if given else None
        self._sweep_if_due()
        with self._locks.hold(message.EndpointID):
            wanted = self._wanted(network, message.EndpointID, ips, mac)
            known = self._state.endpoints.get(wanted.id)
            if known is None:
                self._save(network, wanted)
            elif not known.same_as(wanted):
                raise Conflict(f"endpoint {known.id} already exists with other settings")
            if wanted.made:
                self._make(network, wanted, forget=known is None)
        # A MAC that Docker gave must not be returned: Docker takes that for a change.
        return {"Interface": {} if given else {"MacAddress": wanted.mac}}

    def _make(self, network: Network, endpoint: Endpoint, *, forget: bool) -> None:
        try:
            self._vnics.make(network, endpoint)
        except FatalError:
            raise  # something is left on the host: keep the document
        except BaseException:
            if forget:
                self._forget(endpoint)
            raise

    def info(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """Details of the endpoint, for ``docker network inspect``."""
        network, endpoint = self._find(message)
        return {
            "Value": {
                "snnet.tenant": network.tenant_id,
                "snnet.subnet_id": network.subnet_id,
                "snnet.vnic_id": endpoint.vnic_id,
                "snnet.ip": written(endpoint.ips),
                "snnet.mac": endpoint.mac,
            }
        }

    def join(self, message: messages.Join) -> dict[str, Any]:
        """Return the container's end of the veth pair, which Docker moves into the container."""
        with self._locks.hold(message.EndpointID):
            network, endpoint = self._find(message)
            if endpoint.made:
                # Recreates what was deleted by hand, and finds what exists.
                vnic = self._vnics.make(network, endpoint)
            else:
                vnic = self._find_vnic(network, endpoint.ips)
            self._set_joined(endpoint, True)
        answer: dict[str, Any] = {
            "InterfaceName": {"SrcName": vnic.peer_name, "DstPrefix": "eth"},
            "DisableGatewayService": True,
        }
        if network.internal:
            return answer
        routes = []
        for gateway in vnic.gateways:
            if self._vnics.routed:
                node = str(ip_network(gateway))
                routes.append({"Destination": node, "RouteType": _CONNECTED, "NextHop": ""})
            else:
                gateway = of_family(network.gateways, gateway.version) or gateway
            answer[_GATEWAYS[gateway.version]] = str(gateway)
        return answer | {"StaticRoutes": routes} if routes else answer

    def leave(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """Store that no container uses the endpoint: Docker has moved the veth end back."""
        with self._locks.hold(message.EndpointID):
            endpoint = self._state.endpoints.get(message.EndpointID)
            if endpoint is not None and endpoint.network_id == message.NetworkID:
                self._set_joined(endpoint, False)
        return {}

    def delete(self, message: messages.OfEndpoint) -> dict[str, Any]:
        """Destroy the endpoint and the VNIC it created.  An unknown endpoint is not an error."""
        endpoint = self._state.endpoints.get(message.EndpointID)
        if endpoint is not None and endpoint.network_id == message.NetworkID:
            self._remove(endpoint.id)
        return {}

    # -- what Docker has forgotten -------------------------------------------------------

    def on_network(self, network_id: str) -> list[Endpoint]:
        """All endpoints of a network."""
        return [one for one in self._state.endpoints.all() if one.network_id == network_id]

    def remove_all(self, network_id: str) -> list[SnnetError]:
        """Remove every endpoint of a network; return an error for each that is left."""
        errors = []
        for endpoint in self.on_network(network_id):
            try:
                self._remove(endpoint.id)
            except SnnetError as error:
                errors.append(error)
                self._set_joined(endpoint, False)
        return errors

    def sweep(self) -> int:
        """Remove endpoints that Docker has forgotten; return how many."""
        self._last_sweep = self._pools.now()
        removed = self.remove_unjoined(GRACE) + self.remove_ended(GRACE)
        for network in self._state.networks.all():
            self.drop_unused(network.id)
        self._state.tidy()
        return removed

    def _sweep_if_due(self) -> None:
        """Sweep at most once in GRACE seconds, since a sweep looks up every container's link."""
        if self._pools.stale(self._last_sweep):
            self.sweep()

    def remove_unjoined(self, older_than: float) -> int:
        """Remove endpoints that no container has used for ``older_than`` seconds.

        Docker joins an endpoint right after it created it, and deletes it right after the
        container left it.  If one cannot be removed, its time starts again.  Returns how
        many were removed.
        """
        now = self._pools.now()
        return sum(
            self._try_remove_forgotten(endpoint, released=older_than >= GRACE)
            for endpoint in self._state.endpoints.all()
            if not endpoint.joined and abs(now - endpoint.since) >= older_than
        )

    def remove_ended(self, older_than: float) -> int:
        """Remove endpoints whose container ended while the plugin did not answer Docker.

        Then the container's end of the veth pair is back on the host, or was deleted with
        the container.  Docker moves it into the container right after the join, so only
        joins older than ``older_than`` seconds count.  Docker may still be about to release
        the address, which becomes free then, or after GRACE seconds.  Returns how many
        endpoints were removed.
        """
        now, removed = self._pools.now(), 0
        vnics = {vnic.id: vnic for vnic in self._vnics.all()}
        for endpoint in self._state.endpoints.all():
            if not (endpoint.joined and abs(now - endpoint.since) > older_than):
                continue
            if self._vnics.is_at_home(vnics.get(identity_of(endpoint))):
                self._set_joined(endpoint, False)
                removed += self._try_remove_forgotten(endpoint, released=False)
        return removed

    def _try_remove_forgotten(self, endpoint: Endpoint, *, released: bool) -> bool:
        try:
            return self.remove_forgotten(endpoint.id, released=released)
        except SnnetError:
            self._set_joined(endpoint, False)
            return False

    def remove_forgotten(self, endpoint_id: str, *, released: bool = False) -> bool:
        """Remove an endpoint that Docker has forgotten, unless a container uses it.

        Docker forgets an endpoint if it gets no response to CreateEndpoint or
        DeleteEndpoint.  With ``released`` the address is free at once, since Docker will
        not release it.  Returns whether the endpoint was removed.
        """
        try:
            removed = self._remove(endpoint_id, unless_joined=True, released=released)
        except SnnetError as error:
            _log.warning(
                "cannot remove endpoint %s, which Docker has forgotten: %s", endpoint_id, error
            )
            raise
        if removed:
            _log.warning("removed endpoint %s, which Docker has forgotten", endpoint_id)
        return removed

    def created(self, identity: VnicId) -> bool:
        """Whether the VNIC was created for an endpoint, and is not a mapped one."""
        return any(
            endpoint.made and identity_of(endpoint) == identity
            for endpoint in self._state.endpoints.all()
        )

    # -- state -------------------------------------------------------------------------

    def _remove(
        self, endpoint_id: str, *, unless_joined: bool = False, released: bool = False
    ) -> bool:
        """Remove an endpoint; return whether there was one to remove."""
        with self._locks.hold(endpoint_id):
            endpoint = self._state.endpoints.get(endpoint_id)
            if endpoint is None or (unless_joined and endpoint.joined):
                return False
            if endpoint.made:
                self._vnics.remove(endpoint)
            self._forget(endpoint, released=released)
            return True

    def _save(self, network: Network, endpoint: Endpoint) -> None:
        """Store an endpoint whose VNIC is about to be created, with its address."""
        with self._state.lock:
            self._network(network.id)
            for other in self._state.endpoints.all():
                if ip := other.shares_with(endpoint):
                    raise Conflict(
                        f"address {ip} belongs to endpoint {other.id}: choose another one"
                    )
            self._state.write(endpoint, *self._pools.assigned(network, endpoint))

    def _forget(self, endpoint: Endpoint, *, released: bool = False) -> None:
        with self._state.lock:
            addresses: list[Document] = [*self._pools.held_by(endpoint)]
            if released:
                self._state.write(remove=[*addresses, endpoint])
            else:
                returned = map(self._pools.returned, self._pools.held_by(endpoint))
                self._state.write(*returned, remove=[endpoint])
        self.drop_unused(endpoint.network_id)

    def drop_unused(self, network_id: str) -> None:
        """Remove a network that is deleted, once it has no endpoint."""
        with self._state.lock:
            network = self._state.networks.get(network_id)
            if network and network.deleted and not self.on_network(network_id):
                self._vnics.release(network)
                self._state.write(remove=[network])

    def _set_joined(self, endpoint: Endpoint, joined: bool) -> None:
        change = {"joined": joined, "since": self._pools.now()}
        with self._state.lock:
            if self._state.endpoints.get(endpoint.id) is not None:
                self._state.write(endpoint.model_copy(update=change))

    def _network(self, network_id: str) -> Network:
        network = self._state.networks.get(network_id)
        if network is None or network.deleted:
            raise InvalidRequest(f"no network {network_id!r} exists", field="NetworkID")
        return network

    def _find(self, message: messages.OfEndpoint) -> tuple[Network, Endpoint]:
        network = self._network(message.NetworkID)
        endpoint = self._state.endpoints.get(message.EndpointID)
        if endpoint is None or endpoint.network_id != network.id:
            raise InvalidRequest(
                f"no endpoint {message.EndpointID!r} exists on network {network.id!r}",
                field="EndpointID",
            )
        return network, endpoint

    # -- VNICs -------------------------------------------------------------------------

    def _wanted(
        self, network: Network, endpoint_id: str, ips: Addresses, mac: str | None
    ) -> Endpoint:
        endpoint = Endpoint(
            id=endpoint_id,
            network_id=network.id,
            tenant_id=network.tenant_id,
            subnet_id=network.subnet_id,
            vnic_id=self._vnics.name(endpoint_id),
            ips=ips,
            mac=mac or mac_for(ips),
            made=True,
            since=self._pools.now(),
        )
        if not network.bridge:
            return endpoint
        vnic = self._find_vnic(network, ips)
        if mac not in (None, vnic.mac):
            raise Conflict(
                f"VNIC {vnic.vnic_id} has the MAC {vnic.mac}, not {mac}: leave out "
                f"--mac-address, or give --mac-address {vnic.mac}"
            )
        mapped = {"vnic_id": vnic.vnic_id, "mac": vnic.mac, "made": False}
        return endpoint.model_copy(update=mapped)

    def _find_vnic(self, network: Network, ips: Addresses) -> Vnic:
        for vnic in self._vnics.all():
            if vnic.id[:2] == network.scope and vnic.ips == ips:
                if vnic.role is not VnicRole.TENANT_CONTAINER:
                    raise Conflict(
                        f"address {written(ips)} belongs to VNIC {vnic.vnic_id}, which is a VM's"
                    )
                return vnic
        raise Conflict(
            f"no VNIC of {network.bridge} has the address {written(ips)}: call create_vnic first, "
            "and give docker run the VNIC's address with --ip"
        )


class KeyedLocks:
    """A lock for each id that is in use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for the lock of this id and hold it."""
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
