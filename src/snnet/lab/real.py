"""The real lab: network namespaces as hosts and guests, on this machine's kernel.

Everything happens inside namespaces that the lab creates.  They have no names, unless
they are to be kept.  The machine's own network is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from snnet.config import NetworkConfig
from snnet.contract import SnnetError
from snnet.core.vnics import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode
from snnet.node.deadline import CancelToken
from snnet.system.namespaces import Namespace, end_processes, processes_in

from .dhcp_client import DhcpClient
from .kept import NamedNamespace
from .lab import Answer, Lab, Lease, Port
from .leftovers import (
    files_about,
    outlives_nodes,
    own_links,
    remove_files,
    runtime_files,
    still_open,
)
from .probes import Pair, Pings, Servers
from .scenario import INTERNET, WEB, Connection, Guest, Machine, Matrix, Scenario, Tenant
from .taps import Cables, open_macvtap, open_tap

UPLINK = "eth0"
"""Name of the only link of a guest or a host."""

_API_TIMEOUT = 60.0
"""Seconds a call may take; emulated machines are slow."""
_ROUNDS = 15
_ROUND = 1.0
"""Seconds to listen in one round of pings; ARP retries after one second, and guests ask for
routers after another four (RFC 4861, 10)."""
_SETTLE_TIME = 0.2
"""Seconds to keep listening after all expected answers, for answers that must not come."""


class RealLab(Lab):
    """Hosts, concentrators and guests as network namespaces.

    The wire is a bridge in its own namespace.  A VM's NIC is a tap in the VM's
    namespace, and a cable copies frames between it and the VNIC, as QEMU does.  A
    container gets the end of its veth pair.  With ``keep`` the namespaces have names
    for ``ip netns``; a concentrator and VMs are connected for as long as the lab lives.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        backend: str,
        firewall: str,
        tunnel: str,
        cancel: CancelToken,
        keep: bool = False,
    ) -> None:
        self.backend, self.firewall, self.tunnel = backend, firewall, tunnel
        self.cancel = cancel
        self.scenario = scenario
        self.config = NetworkConfig(
            compute_nets=[scenario.wire],
            management_nets=[scenario.wire],
            tunnel=tunnel,
            mode=scenario.mode,
        )
        self._new_namespace = NamedNamespace if keep else Namespace
        self._links_before = own_links(backend)
        self._client = DhcpClient()
        self._cables = Cables()
        self._spaces: list[Namespace] = []
        self._wire: Namespace | None = None
        self._machines: dict[Machine, Namespace] = {}
        self._guests: dict[Guest, Namespace] = {}

    def _namespace(self, name: str) -> Namespace:
        self.check()
        namespace = self._new_namespace(name)
        self._spaces.append(namespace)
        # About an older namespace, now gone, whose number the kernel has given to this one.
        remove_files(files_about([namespace], runtime_files()))
        return namespace

    # -- set-up ----------------------------------------------------------------------

    def build_wire(self) -> None:
        wire = self._wire = self._namespace("wire")
        internet = self.scenario.internet
        self._machines = {
            machine: self._namespace(machine.name)
            for machine in (*self.scenario.machines, internet)
        }
        commands = ["link add wire type bridge", "link set wire up"]
        for machine, namespace in self._machines.items():
            commands.append(
                f"link add {machine.name} up master wire type veth "
                f"peer name {UPLINK} netns {namespace.path}"
            )
        wire.ip(commands)
        for machine, namespace in self._machines.items():
            commands = _configured(*map(str, machine.addresses))
            if machine == internet:
                commands += _internet_routes(self.scenario)
            elif self.scenario.routed:
                commands += _default_routes(self.scenario, machine)
            namespace.ip(commands)

    def compute_node(self, machine: Machine) -> ComputeNode:
        return ComputeNode(
            machine.name,
            self.config,
            backend=self.backend,
            firewall=self.firewall,
            netns=self._machines[machine].fd,
            api_timeout=_API_TIMEOUT,
        )

    def concentrator(self, tenant: Tenant, machine: Machine, vnic: CnciVnic) -> Cnci:
        namespace = self._namespace(tenant.concentrator)
        near = open_macvtap(self._machines[machine], vnic)
        self._cables.join(near, open_tap(namespace, UPLINK, vnic.mac))
        addresses = map(str, tenant.addresses)
        namespace.ip([*_configured(*addresses), *_default_routes(self.scenario, tenant)])
        return Cnci(
            tenant.concentrator,
            self.config,
            tenant_id=tenant.name,
            backend=self.backend,
            firewall=self.firewall,
            dhcp="dnsmasq",
            netns=namespace.fd,
            api_timeout=_API_TIMEOUT,
        )

    def start(self, guests: Mapping[Guest, Vnic]) -> None:
        self.plug_in(guests)
        if self.scenario.routed:
            for guest, vnic in guests.items():
                commands = _configured(*(f"{ip}/{ip.max_prefixlen}" for ip in guest.ips))
                for gateway in vnic.gateways:
                    commands.append(f"route add default via {gateway} dev {UPLINK} onlink")
                self._guests[guest].ip(commands)

    def plug_in(self, guests: Mapping[Guest, Port]) -> None:
        """Start the guests, each behind its port and without an address."""
        moves: dict[Machine, list[str]] = {}
        for guest, vnic in guests.items():
            self._guests[guest] = namespace = self._namespace(guest.name)
            if vnic.peer_name is None:
                tap = open_tap(self._machines[guest.machine], vnic.link_name)
                self._cables.join(tap, open_tap(namespace, UPLINK, vnic.mac))
            else:
                move = f"link set {vnic.peer_name} netns {namespace.path} name {UPLINK}"
                moves.setdefault(guest.machine, []).append(move)
        for machine, commands in moves.items():
            self._machines[machine].ip(commands)

    # -- what guests do ----------------------------------------------------------------

    def lease(self) -> list[Lease]:
        if self.scenario.routed:
            return []
        with (
            self._client.script() as script,
            ThreadPoolExecutor(max(1, len(self._guests)), "snnet-dhcp") as threads,
        ):
            clients = [
                threads.submit(self._client.lease, namespace, UPLINK, script)
                for namespace in self._guests.values()
            ]
            try:
                while wait(clients, 0.1).not_done:
                    self.check()
            except BaseException:
                # The threads end when their clients end.
                threads.shutdown(wait=False, cancel_futures=True)
                while wait(clients, 0.1).not_done:
                    end_processes(self._spaces)
                raise
        for guest, namespace in self._guests.items():
            for ip, network in zip(guest.ips, guest.subnet.networks, strict=True):
                if ip.version == 6:
                    # The default route comes by a router advertisement.
                    namespace.ip([f"address add {ip}/{network.prefixlen} dev {UPLINK} nodad"])
        leases = [client.result() for client in clients]
        return [lease for lease in leases if lease is not None]

    def reach(self, expected: Matrix) -> Matrix:
        pairs = [(source.name, target.name) for source, target in self.scenario.pairs()]
        spaces = {guest.name: namespace for guest, namespace in self._guests.items()}
        found: dict[int, set[Pair]] = {}
        for version in sorted(self.scenario.versions):
            wanted = {pair for pair in pairs if version in expected[pair[0]][pair[1]]}
            addresses = {
                guest.name: ip
                for guest in self.scenario.guests
                for ip in guest.ips
                if ip.version == version
            }
            with Pings(spaces, version) as pings:
                for _ in range(_ROUNDS):
                    self.check()
                    pings.send([pair for pair in pairs if pair not in pings.reached], addresses)
                    if pings.listen(_ROUND, wanted):
                        break
                # Once more, now that every address on the way is resolved.
                pings.send([pair for pair in pairs if pair not in pings.reached], addresses)
                pings.listen(_SETTLE_TIME)
                found[version] = pings.reached
        return {
            name: {
                target: frozenset(
                    version for version, reached in found.items() if (name, target) in reached
                )
                for target in row
            }
            for name, row in expected.items()
        }

    def connect(self, connections: Sequence[Connection]) -> list[Answer | None]:
        listeners = {guest.name: (space, guest.ports) for guest, space in self._guests.items()}
        listeners[INTERNET] = (self._machines[self.scenario.internet], (WEB,))
        self.check()
        with Servers(listeners) as servers:
            return servers.connect(connections)

    def namespaces(self) -> dict[str, str]:
        scenario = self.scenario
        what = {"wire": "the wire: a bridge that joins all hosts"}
        what[scenario.internet.name] = f"the internet, {scenario.internet.address.ip}"
        for machine in scenario.machines:
            role = "network host" if machine == scenario.network_node else "compute node"
            what[machine.name] = f"{role}, {machine.address.ip}"
        for tenant in scenario.tenants:
            what[tenant.concentrator] = f"concentrator of {tenant.name}, {tenant.address.ip}"
        for guest in scenario.guests:
            kind = "VM" if guest.is_vm else "container"
            what[guest.name] = f"{kind} of {guest.tenant.name} on {guest.machine.name}, {guest.ip}"
        return {
            space.netns: what[space.name]
            for space in self._spaces
            if isinstance(space, NamedNamespace)
        }

    # -- tear-down -----------------------------------------------------------------------

    def close(self) -> list[str]:
        spaces, self._spaces = self._spaces, []
        self._cables.close()
        if not spaces:
            return []
        left = [f"process {pid} in {space.name}" for pid, space in processes_in(spaces)]
        files = files_about(spaces, runtime_files())
        left += [f"{file} of {name}" for file, name in files.items() if not outlives_nodes(file)]
        end_processes(spaces)
        remove_files(files)
        for space in spaces:
            try:
                space.close()
            except SnnetError as error:
                left.append(str(error))
        left += still_open(spaces)
        new_links = own_links(self.backend) - self._links_before
        left += [f"link {name} on this machine" for name in sorted(new_links)]
        return left


def _configured(*addresses: str) -> list[str]:
    return [
        "link set lo up",
        f"link set {UPLINK} up",
        *(
            f"address add {address} dev {UPLINK}" + (" nodad" if ":" in address else "")
            for address in addresses
        ),
    ]


def _default_routes(scenario: Scenario, machine: Machine | Tenant) -> Iterator[str]:
    """The routes from a host on the wire to the internet."""
    for gateway in scenario.gateways(machine):
        yield f"route add default via {gateway} dev {UPLINK}"


def _internet_routes(scenario: Scenario) -> Iterator[str]:
    """The internet's other addresses and its routes to tenants and public addresses."""
    for address in scenario.outsides:
        yield f"address add {address}/{address.max_prefixlen} dev lo"
    own = {address.version: address.ip for address in scenario.internet.addresses}
    for network in scenario.tenant_networks():
        gateway = scenario.gateway_to(network)
        via = f"via {gateway} " if gateway else ""
        yield f"route add {network} {via}dev {UPLINK} src {own[network.version]}"
