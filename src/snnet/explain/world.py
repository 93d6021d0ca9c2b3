"""Hosts in memory: fakes and a fabric with what their snapshots have.

Guests are taken to be set up as their VNICs say; what is inside them is not on the hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from snnet.backends.fake import Fabric, FakeKernel, Guest
from snnet.backends.fake.loading import join_veth, load
from snnet.contract import Add, Fdb, InvalidRequest, IPAddress, Namespace, Tunnel

from .chains import HostChains
from .outside import Outside
from .routes import read_routes
from .snapshot import Snapshot, Space
from .vnics import Vnic, vnics_of


class Damaged(InvalidRequest):
    """A snapshot of ``host`` that says what no host has."""

    def __init__(self, host: str, why: object) -> None:
        super().__init__(f"its snapshot is damaged: {why}")
        self.host = host


class World:
    """The hosts of some snapshots, on a fabric.

    A *station* is the name of a network namespace in the fabric: that of its host, or
    "HOST/NAMESPACE" for those of concentrators.  ``silent`` are hosts that nothing is known of
    but their addresses: packets to these go nowhere.  Raises ``Damaged``.
    """

    def __init__(
        self, *snapshots: Snapshot, silent: Mapping[str, Sequence[IPAddress]] | None = None
    ) -> None:
        self.fabric = Fabric()
        self.kernels: dict[str, FakeKernel] = {}
        self.spaces: dict[str, Space] = {}
        self._places: dict[str, tuple[str, str]] = {}
        for snapshot in snapshots:
            if snapshot.host in self.spaces or snapshot.host in (silent or {}):
                raise InvalidRequest(f"there are two hosts {snapshot.host!r}", field="host")
            try:
                self._add(snapshot)
            except (AttributeError, LookupError, TypeError, ValueError, InvalidRequest) as error:
                raise Damaged(snapshot.host, error) from error
        self.vnics = [
            vnic
            for station, space in self.spaces.items()
            for vnic in vnics_of(station, space.nouns)
        ]
        self._guests: dict[tuple[str, str], Guest] = {}
        self._attached: dict[str, str] = {}
        mine = {(vnic.station, vnic.link_name) for vnic in self.vnics}
        roots = {snapshot.host: self.kernels[snapshot.host] for snapshot in snapshots}
        remotes = {host: list(dict.fromkeys(self.remotes(host))) for host in roots}
        inside = {ip for one in self.kernels.values() for ip in one.state.local}
        self.outside = Outside(self.fabric, roots, mine, remotes, silent or {}, inside)

    def _add(self, snapshot: Snapshot) -> None:
        """Load a host and its namespaces, and put them on the fabric."""
        host = snapshot.host
        root = self.kernels[host] = FakeKernel(host)
        stations = {name: f"{host}/{name}" if name else host for name in snapshot.spaces}
        for name, station in stations.items():
            self._places[station] = host, name
            self.spaces[station] = snapshot.spaces[name]
            if name:
                root.perform(Add(Namespace(name=name)))
                self.kernels[station] = root.namespace(name)
        for name, space in snapshot.spaces.items():
            kernel = self.kernels[stations[name]]
            load(kernel, space.nouns, read_routes(space.routes), space.sysctls)
        for name, space in snapshot.spaces.items():
            for link, (there, other) in space.far.items():
                join_veth(self.kernels[stations[name]], link, self.kernels[stations[there]], other)
        self.fabric.join(host, root)
        for name, space in snapshot.spaces.items():
            kernel = self.kernels[stations[name]]
            self.fabric.let_judge(kernel, HostChains(space.others))
            for listener in space.listeners:
                self.fabric.listen(kernel, listener.protocol, listener.port)

    @property
    def is_one(self) -> bool:
        """Whether this is a single host, and nothing else is known."""
        return len(self.outside.hosts) == 1 and not self.outside.silent

    def host_of(self, station: str) -> str:
        """Return the host of a namespace or of a guest; empty for what is beyond."""
        station = self._attached.get(station, station)
        host, _ = self._places.get(station, ("", ""))
        return host or (station if station in self.outside.silent else "")

    def space_of(self, station: str) -> str | None:
        """Return the name of a station's namespace on its host, "" for the host's own.

        None for guests, and for what is beyond.
        """
        return self._places[station][1] if station in self._places else None

    def having(self, address: IPAddress) -> FakeKernel | None:
        """Return the namespace that has the address."""
        found = (one for one in self.kernels.values() if address in one.state.local)
        return next(found, None)

    def guest(self, vnic: Vnic) -> Guest:
        """Return the guest on a VNIC."""
        key = vnic.station, vnic.link_name
        found = self._guests.get(key)
        if found is None:
            made = self.fabric.attach(self.kernels[vnic.station], vnic, name=str(vnic))
            found = self._guests[key] = made
            self._attached[str(vnic)] = vnic.station
        return found

    @property
    def attached(self) -> Iterable[str]:
        """The stations that guests were added to."""
        return self._attached.values()

    def remotes(self, host: str) -> Iterator[IPAddress]:
        """Yield the far ends of the host's tunnels, those of its concentrators included."""
        for station, (owner, _) in self._places.items():
            if owner != host:
                continue
            state = self.kernels[station].state
            for name in state.tunnels.values():
                link = state.link(name)
                if isinstance(link, Tunnel) and link.remote is not None:
                    yield link.remote
            yield from (noun.remote for noun in self.spaces[station].nouns if isinstance(noun, Fdb))
