"""``Cluster``: the verbs on what users want, kept in a registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from snnet import plugins
from snnet.checks import (
    Address,
    check_address,
    check_bool,
    check_callable,
    check_seconds,
    shown,
)
from snnet.checks import Network as Cidr
from snnet.config import VnicRole
from snnet.contract import InvalidRequest, Registry, Rule

from . import applying, keys, nodes
from .documents import DEFAULT_TENANT, Forward, Network, PublicIp, Vnic, Wanted
from .node_info import NodeInfo
from .security import SecurityGroup
from .views import (
    exported,
    read_all,
    read_everything,
    read_nodes,
    read_one,
    read_placements,
    unmanaged,
)
from .waiting import Event, follow, is_settled, until
from .writing import Writer

W = TypeVar("W", bound=Wanted)


class Cluster:
    """What is wanted of all hosts: networks, VNICs, groups, port forwards and public addresses.

    ``registry`` is a URL such as "sqlite:///var/lib/snnet/registry.db", or an open
    registry, which is borrowed and not closed.  The agents of the hosts carry out what is
    stored here; each object's ``state`` says how far they are.

    When a method returns, its change is stored completely; if it raises, nothing is stored.  (With
    ``force``, and in ``apply``, a change is several: the call, repeated, goes on.)  A
    creation may be repeated: the same object again is returned as it is, and one that
    differs is a ``Conflict``.  Bad input is an ``InvalidRequest`` that names every problem.
    Any number of threads and processes may use one registry at once.
    """

    def __init__(self, registry: str | Registry, *, create: bool = True) -> None:
        """``create`` False: InvalidRequest where the URL names no registry yet."""
        self._borrowed = isinstance(registry, Registry)
        self.registry = (
            registry
            if isinstance(registry, Registry)
            else plugins.open_registry(registry, create=create)
        )
        self._writer = Writer(self.registry)

    def close(self) -> None:
        """Close the registry, unless it is borrowed.  May be repeated."""
        if not self._borrowed:
            self.registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- networks --------------------------------------------------------------------

    def create_network(
        self,
        name: str,
        *,
        subnet: Cidr | Iterable[Cidr],
        tenant: str = DEFAULT_TENANT,
        key: int | None = None,
        mtu: int | None = None,
    ) -> Network:
        """Create a network.  Raises ``Conflict`` if it overlaps another of the tenant's."""
        fields = _arguments(name=name, tenant=tenant, subnet=subnet, key=key, mtu=mtu)
        return self._writer.network(Network(**fields), frozenset(fields))

    def update_network(self, tenant: str, name: str, **changes: Any) -> Network:
        """Change the MTU of a network.  Its subnet and key cannot be changed."""
        return self._writer.update(Network, *_names(tenant, name), changes)

    def delete_network(self, tenant: str, name: str, *, force: bool = False) -> None:
        """Delete a network.  An unknown one is not an error.

        A network with VNICs is a ``Conflict`` that lists them.  With ``force`` they are
        deleted too, and the forwards and public addresses that lead to them.
        """
        self._writer.delete(Network, *_names(tenant, name), force=check_bool(force, "force"))

    def get_network(self, tenant: str, name: str) -> Network:
        """Return a network with its state.  Raises ``Missing`` if there is none."""
        return read_one(self.registry, Network, *_names(tenant, name))

    def list_networks(self, tenant: str | None = None) -> list[Network]:
        """Return all networks, of one tenant or of all."""
        return read_all(self.registry, Network, _tenant(tenant))

    # -- VNICs -----------------------------------------------------------------------

    def create_vnic(
        self,
        name: str,
        *,
        network: str,
        tenant: str = DEFAULT_TENANT,
        node: str | None = None,
        role: str | VnicRole = VnicRole.TENANT_VM,
        ip: Address | Iterable[Address] | None = None,
        mac: str | None = None,
        mtu: int | None = None,
        owner: str | int | None = None,
        extra_addresses: Iterable[Address | Cidr] | None = None,
        anti_spoofing: bool | None = None,
        groups: Iterable[str] | None = None,
        rate_to_guest: int | str | None = None,
        rate_from_guest: int | str | None = None,
    ) -> Vnic:
        """Create a VNIC; choose its node and its addresses unless they are given.

        ``ip`` is one address, or one of each family that the network has.  The guest may use
        ``extra_addresses`` beside it, and any address with ``anti_spoofing`` False.  In
        ``groups`` it sends and receives what their rules allow, and at most
        ``rate_from_guest`` and ``rate_to_guest`` (bits a second, or "100mbit").  Raises
        ``Conflict`` if an address or the name is in use, or no registered node may take it.
        """
        fields = _arguments(
            name=name, tenant=tenant, network=network, node=node, role=role, ip=ip, mac=mac,
            mtu=mtu, owner=owner, extra_addresses=extra_addresses, anti_spoofing=anti_spoofing,
            groups=groups, rate_to_guest=rate_to_guest, rate_from_guest=rate_from_guest,
        )  # fmt: skip
        return self._writer.vnic(Vnic(**fields), frozenset(fields))

    def update_vnic(self, tenant: str, name: str, **changes: Any) -> Vnic:
        """Change the node, MTU, owner, extra addresses, anti-spoofing, groups or rates of a VNIC.

        Its network, role and addresses cannot be changed (``Conflict``).  Nor does it move to a
        node that cannot take it, because no agent has registered it or it has other roles.
        """
        return self._writer.update(Vnic, *_names(tenant, name), changes)

    def delete_vnic(self, tenant: str, name: str, *, force: bool = False) -> None:
        """Delete a VNIC.  An unknown one is not an error.

        A VNIC that forwards or public addresses lead to is a ``Conflict`` that lists them;
        with ``force`` they are deleted with it.
        """
        self._writer.delete(Vnic, *_names(tenant, name), force=check_bool(force, "force"))

    def get_vnic(self, tenant: str, name: str) -> Vnic:
        """Return a VNIC with its state.  Raises ``Missing`` if there is none."""
        return read_one(self.registry, Vnic, *_names(tenant, name))

    def list_vnics(self, tenant: str | None = None) -> list[Vnic]:
        """Return all VNICs, of one tenant or of all."""
        return read_all(self.registry, Vnic, _tenant(tenant))

    def wait_vnic(self, tenant: str, name: str, timeout: float = 30.0) -> Vnic:
        """Wait until a VNIC is ready or has failed; return it as it is then.

        After ``timeout`` seconds it is returned although it is still pending.  Raises
        ``Missing`` if there is none.
        """
        return self._wait(Vnic, *_names(tenant, name), timeout)

    # -- security groups -------------------------------------------------------------

    def create_group(
        self, name: str, *, tenant: str = DEFAULT_TENANT, rules: Iterable[Rule | str] = ()
    ) -> SecurityGroup:
        """Create a security group.  Raises ``Conflict`` if there is one with other rules."""
        fields = _arguments(name=name, tenant=tenant, rules=rules)
        return self._writer.group(SecurityGroup(**fields), frozenset(fields))

    def set_group(
        self, tenant: str, name: str, *, rules: Iterable[Rule | str] = ()
    ) -> SecurityGroup:
        """Set a security group to exactly these rules; create it if it does not exist."""
        return self._writer.set_group(SecurityGroup(tenant=tenant, name=name, rules=rules))  # type: ignore[arg-type]

    def update_group(self, tenant: str, name: str, **changes: Any) -> SecurityGroup:
        """Change the rules of a group."""
        return self._writer.update(SecurityGroup, *_names(tenant, name), changes)

    def delete_group(self, tenant: str, name: str) -> None:
        """Delete a group.  An unknown one is not an error.

        One that VNICs are in, or that other groups name, is a ``Conflict`` that lists them.
        """
        self._writer.delete(SecurityGroup, *_names(tenant, name))

    def get_group(self, tenant: str, name: str) -> SecurityGroup:
        """Return a group with its state.  Raises ``Missing`` if there is none."""
        return read_one(self.registry, SecurityGroup, *_names(tenant, name))

    def list_groups(self, tenant: str | None = None) -> list[SecurityGroup]:
        """Return all groups, of one tenant or of all."""
        return read_all(self.registry, SecurityGroup, _tenant(tenant))

    # -- port forwards ---------------------------------------------------------------

    def create_forward(
        self,
        *,
        network: str,
        protocol: str,
        port: int | str,
        to: str,
        tenant: str = DEFAULT_TENANT,
        to_port: int | None = None,
        sources: Iterable[Cidr] = (),
    ) -> Forward:
        """Forward a port, or a range like "8000-8010", to a VNIC of the network.

        Raises ``Conflict`` if another forward has one of the ports.
        """
        fields = _arguments(
            tenant=tenant, network=network, protocol=protocol, port=port, to=to,
            to_port=to_port, sources=sources,
        )  # fmt: skip
        return self._writer.forward(Forward(**fields), frozenset(fields))

    def update_forward(self, tenant: str, name: str, **changes: Any) -> Forward:
        """Change the target or the sources of a forward such as "tcp-8080"."""
        return self._writer.update(Forward, *_names(tenant, name), changes)

    def delete_forward(self, tenant: str, name: str) -> None:
        """Delete the forward named by protocol and port.  An unknown one is not an error."""
        self._writer.delete(Forward, *_names(tenant, name))

    def get_forward(self, tenant: str, name: str) -> Forward:
        """Return a forward with its state.  Raises ``Missing`` if there is none."""
        return read_one(self.registry, Forward, *_names(tenant, name))

    def list_forwards(self, tenant: str | None = None) -> list[Forward]:
        """Return all forwards, of one tenant or of all."""
        return read_all(self.registry, Forward, _tenant(tenant))

    # -- public addresses ------------------------------------------------------------

    def create_public_ip(
        self, address: Address, *, to: str, tenant: str = DEFAULT_TENANT
    ) -> PublicIp:
        """Give a public address to a VNIC.  Raises ``Conflict`` if another VNIC has it."""
        fields = _arguments(tenant=tenant, address=address, to=to)
        return self._writer.public_ip(PublicIp(**fields))

    def update_public_ip(self, tenant: str, address: Address, **changes: Any) -> PublicIp:
        """Give a public address to another VNIC: ``to="v2"``."""
        return self._writer.update(PublicIp, keys.part(tenant, "tenant"), _public(address), changes)

    def delete_public_ip(self, tenant: str, address: Address) -> None:
        """Take a public address from its VNIC.  An unknown one is not an error."""
        self._writer.delete(PublicIp, keys.part(tenant, "tenant"), _public(address))

    def get_public_ip(self, tenant: str, address: Address) -> PublicIp:
        """Return a public address with its state.  Raises ``Missing`` if there is none."""
        return read_one(self.registry, PublicIp, keys.part(tenant, "tenant"), _public(address))

    def list_public_ips(self, tenant: str | None = None) -> list[PublicIp]:
        """Return all public addresses, of one tenant or of all."""
        return read_all(self.registry, PublicIp, _tenant(tenant))

    # -- nodes -----------------------------------------------------------------------

    def nodes(self) -> list[NodeInfo]:
        """Return the hosts whose agents have registered."""
        return read_nodes(self.registry.read(keys.NODES, keys.ALIVE))

    def get_node(self, name: str) -> NodeInfo:
        """Return a host.  Raises ``Missing`` if its agent has not registered."""
        return nodes.need(self.registry, keys.part(name, "name"))

    def drain_node(self, name: str, *, draining: bool = True) -> None:
        """Put nothing new on a node, and move its concentrators to other nodes.

        In topology "local" concentrators stay.  VNICs always stay.
        """
        nodes.drain(
            self.registry, keys.part(name, "name"), draining=check_bool(draining, "draining")
        )

    def forget_node(self, name: str, *, force: bool = False) -> None:
        """Remove a node that is gone for good, what its agent said, and its tunnels.

        Its concentrators are placed on other nodes; nothing else removes a node's tunnels.
        An unknown one is not an error.  A node whose agent is running, or that has VNICs, is a
        ``Conflict``; with ``force`` its VNICs are deleted.
        """
        check_bool(force, "force")
        for vnic in nodes.forget(self.registry, keys.part(name, "name"), force=force):
            self.delete_vnic(vnic.tenant, vnic.name, force=True)

    def placements(self) -> dict[str, dict[str, Any]]:
        """Return where each tenant's concentrator is: its ``node``, and its ``address`` if any."""
        placed = read_placements(self.registry.read(keys.CONCENTRATORS))
        return {tenant: dict(entry.document) for tenant, entry in placed.items()}

    # -- all of it -------------------------------------------------------------------

    def apply(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        prune: bool = False,
        dry_run: bool = False,
        progress: applying.Progress | None = None,
    ) -> list[applying.Applied]:
        """Make what is stored as the documents say; see :meth:`export` for their form.

        All documents are checked before anything is written.  Objects are then created and
        changed one after the other, those that others refer to first.  An object that fails is
        in the result with its error, and the others are still tried.  Repeating the call
        finishes what was interrupted.  ``prune`` deletes what the documents do not have, of the
        tenants that they name, but no VNIC that another program manages.  ``dry_run`` writes
        nothing and returns what would be done, and what would fail.  ``progress`` is called
        after each object with the number of objects done and the number of all.
        """
        check_bool(prune, "prune")
        check_bool(dry_run, "dry_run")
        if progress is not None:
            check_callable(progress, "progress")
        return applying.apply(
            self.registry, documents, prune=prune, dry_run=dry_run, progress=progress
        )

    def export(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return all objects as documents that ``apply`` takes, of one tenant or of all.

        VNICs that another program manages, such as those of Docker's containers, are left out,
        and what leads to them.
        """
        everything = read_everything(self.registry, _tenant(tenant))
        return [exported(item) for item in unmanaged(everything)]

    def watch(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield an event for each change from now on, until ``timeout`` quiet seconds passed."""
        return follow(
            self.registry, None if timeout is None else check_seconds(timeout, "timeout", zero=True)
        )

    def wait(self, wanted: W, timeout: float = 30.0) -> W:
        """Wait until an object is ready or has failed; return it as it is then.

        After ``timeout`` seconds it is returned although it is still pending.  Raises
        ``Missing`` if it was deleted.
        """
        if not isinstance(wanted, Wanted):
            raise InvalidRequest(f"{shown(wanted)} is no object of the cluster", field="wanted")
        return self._wait(type(wanted), wanted.tenant, wanted.name, timeout)

    def _wait(self, kind: type[W], tenant: str, name: str, timeout: float) -> W:
        said = f"/{kind.kind}/{tenant}/{name}/"
        if kind is Vnic:
            others = {keys.vnic_name(tenant, name)}
        else:  # its agent is that of the tenant's concentrator
            others = {f"{keys.PREFIXES[kind.kind]}{tenant}/{name}/", keys.concentrator(tenant)}
        return until(
            self.registry,
            (keys.STATUS, *others),
            lambda: read_one(self.registry, kind, tenant, name),
            is_settled,
            check_seconds(timeout, "timeout", zero=True),
            lambda key: key in others or key.endswith(said),
        )


def _names(tenant: object, name: object) -> tuple[str, str]:
    return keys.part(tenant, "tenant"), keys.part(name, "name")


def _tenant(value: object) -> str | None:
    return None if value is None else keys.part(value, "tenant")


def _public(address: Address) -> str:
    """The name of a public address, however the address is written."""
    return str(check_address(address, "address"))


def _arguments(**values: Any) -> dict[str, Any]:
    """The arguments that were given: those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
