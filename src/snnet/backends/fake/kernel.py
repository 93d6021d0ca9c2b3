"""The fake kernel: one network namespace of one host, in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from ipaddress import ip_interface
from typing import Any

from snnet.backends.kinds import NO_REDIRECTS, NO_SHAPERS, no_kind
from snnet.contract import (
    Add,
    Address,
    Announcement,
    Attached,
    Bridge,
    BridgeFdb,
    Conflict,
    Driver,
    Fdb,
    Host,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Journal,
    Key,
    Link,
    LinkAccepts,
    Listener,
    Missing,
    Namespace,
    Neighbour,
    Netns,
    Noun,
    Operation,
    Other,
    Path,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    SnnetError,
    Sysctl,
    Veth,
    Watch,
    error_for,
)
from snnet.contract.network import FORWARDING, is_automatic

from .addresses import AddressRules
from .docker_user import FakeDockerUser
from .driver import FakeDriver, Rules
from .faults import Faults
from .journal import FakeJournal
from .kinds import KINDS
from .links import LinkRules
from .namespaces import AttachmentRules, NamespaceRules, check_same
from .neighbours import BridgeFdbRules, FdbRules, NeighbourRules, ProxyRules
from .paths import PathRules, path_to
from .refusal import Refusal
from .routes import PolicyRules, RouteRules
from .shaping import RedirectRules, ShaperRules
from .state import State
from .sysctls import SysctlRules
from .text import to_text
from .watch import FakeAlarm

Ask = Callable[[str, Collection[IPAddress], IPAddress], set[IPAddress]]
"""Of a link, the addresses in question and the one who asks, to those that are answered for."""


class FakeKernel(FakeDriver, Host):
    """A state machine with the rules and errnos of a Linux kernel, for tests.

    It is both a backend and the host that the backend works on.  ``hostname`` only makes
    the generated MACs differ from those of other hosts.  ``gaps`` has the kinds of link
    that this kernel lacks ("gretap"), and of traffic control ("tbf", "mirred"); it may be
    modified later.

    Differences from Linux: link names with '%' are refused, generated MACs are the same in
    each run, and IPv6 link-local addresses do not exist.  An ip6gretap that is created down
    with an MTU below 1280 has no IPv6; on Linux it has IPv6 until it first comes up
    (ip6gre_newlink sets the MTU without notifying addrconf).
    """

    name = "fake"
    carries = frozenset(
        {
            *KINDS, Address, Route, Path,
            PolicyRule, Neighbour, ProxyNeighbour, Fdb, BridgeFdb, Sysctl,
            Namespace, Attached, Shaper, Redirect,
        }
    )  # fmt: skip

    gaps: set[str]

    def __init__(self, hostname: str = "host", *, gaps: Iterable[str] = ()) -> None:
        self._begin(hostname, set(gaps), State(hostname), Faults())

    def _begin(self, hostname: str, gaps: set[str], state: State, faults: Faults) -> None:
        self.hostname = hostname
        self.netns = Netns(f"fake:{id(self):x}", f"fake kernel {hostname!r}")
        self.owner = f"host:{hostname}"
        self.networks: tuple[IPNetwork, ...] = ()
        self.gaps = gaps
        self.host = self
        self.state = state
        self.faults = faults
        self.sockets: list[Listener] = []
        """What programs of the host listen on; tests add to it."""
        self._namespaces: dict[str, FakeKernel] = {}
        self.announced: list[Announcement] = []
        """What nodes on this host announced to neighbours: the last thousand, oldest first."""
        self.ask: Ask = _nobody
        """How to ask other hosts who answers for addresses; a ``Fabric`` sets this."""
        self.links = LinkRules(self.state)
        self._sysctls = SysctlRules(self.state)
        self._addresses = AddressRules(self.state)
        self._attachments = AttachmentRules(self.state, self.links)
        others: dict[type[Noun], Rules[Any]] = {
            Namespace: NamespaceRules(self.state, self._make_namespace),
            Attached: self._attachments,
            Address: self._addresses,
            Route: RouteRules(self.state),
            Path: PathRules(),
            PolicyRule: PolicyRules(self.state),
            Neighbour: NeighbourRules(self.state),
            ProxyNeighbour: ProxyRules(self.state),
            Fdb: FdbRules(self.state),
            BridgeFdb: BridgeFdbRules(self.state),
            Sysctl: self._sysctls,
            Shaper: ShaperRules(self.state),
            Redirect: RedirectRules(self.state),
        }
        self.rules = dict.fromkeys(KINDS, self.links) | others
        self.state.loopback()
        self._addresses.add(Address(link="lo", address=ip_interface("127.0.0.1/8")))

    # -- as a backend --------------------------------------------------------------

    def missing(self, noun: Noun) -> str | None:
        if isinstance(noun, Link):
            if self.gaps and noun.kind in self.gaps:
                return no_kind(noun)
            if reason := noun.unmakeable:
                return reason
        elif self.gaps and type(noun) in _GAPS:
            gap, reason = _GAPS[type(noun)]
            if gap in self.gaps:
                return reason
        return super().missing(noun)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`.

        It includes only those sysctls that turn forwarding on.  It omits addresses like those
        that a real kernel adds by itself.
        """
        wanted = tuple(self.carries if types is None else types)
        found = super().snapshot(wanted)
        if issubclass(Namespace, wanted):
            found = {key: noun for key, noun in found.items() if not _is_unmarked(noun)}
        if issubclass(Address, wanted):
            for key in [key for key, noun in found.items() if _is_automatic(noun)]:
                del found[key]
        if issubclass(Sysctl, wanted):
            sysctls = (self._sysctls.find(name) for name in FORWARDING.values())
            found.update((noun.key, noun) for noun in sysctls if noun is not None)
        return found

    def find(self, noun: Noun) -> Noun | None:
        match noun:
            case Sysctl(name=name):
                return self._sysctls.find(name)
            case Path(remote=remote):
                return path_to(self.state, remote)
            case Attached():
                return self._attachments.find(noun)
        return super().find(noun)

    def _lacks(self, operation: Operation) -> bool:
        noun = operation.noun
        if isinstance(noun, Link):  # what is there can be changed and removed
            return isinstance(operation, Add) and noun.kind in self.gaps
        return type(noun) in _GAPS and _GAPS[type(noun)][0] in self.gaps

    def announce(self, announcements: Sequence[Announcement]) -> None:
        """See :meth:`snnet.contract.Driver.announce`; ``announced`` keeps them."""
        with self.state.lock:
            self.announced += announcements
            if len(self.announced) > _ANNOUNCED_MAX:
                del self.announced[:-_ANNOUNCED_MAX]

    def answering(
        self, link: str, addresses: Collection[IPAddress], source: IPAddress, wait: float = 1.0
    ) -> set[IPAddress]:
        """See :meth:`snnet.contract.Driver.answering`; without a ``Fabric`` nobody answers."""
        return self.ask(link, addresses, source)

    def watch(self) -> Watch:
        return self.state.watch()

    def alarm(self) -> FakeAlarm:
        return FakeAlarm(self.state.changes)

    @contextlib.contextmanager
    def inside(self, namespace: str, alias: str | None = None) -> Iterator[Driver]:
        if alias is not None:
            check_same(Namespace(name=namespace, alias=alias), self.state)
        yield self.namespace(namespace)

    # -- namespaces --------------------------------------------------------------------

    def namespace(self, name: str) -> FakeKernel:
        """Return a namespace of this host, a kernel of its own; Missing if there is none.

        Failures that are asked for with ``fail`` count the operations of all namespaces.
        """
        if name not in self.state.children:
            raise Missing(f"there is no namespace {name} on {self.hostname}")
        return self._namespaces[name]

    def _make_namespace(self, name: str) -> State:
        kernel = FakeKernel.__new__(FakeKernel)
        hostname = f"{self.hostname}/{name}"
        kernel._begin(hostname, self.gaps, State(hostname, self.state), self.faults)
        kernel.owner = self.owner
        # Those that were removed live on only as long as somebody has them open.
        for gone in self._namespaces.keys() - self.state.children.keys():
            del self._namespaces[gone]
        self._namespaces[name] = kernel
        return kernel.state

    # -- as a host -------------------------------------------------------------------

    def record(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        return self.state.document(self.state.records, name)

    def lasting(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        return self.state.document(self.state.lasting, name)

    def journal(self, name: str) -> Journal:
        return FakeJournal(self.state, name)

    @contextlib.contextmanager
    def claim(self, timeout: float, owner: str | None = None) -> Iterator[None]:
        """Return at once: no other process can use this host.

        An ``owner`` that is given is refused, as ``Conflict``, while this process has claimed it.
        """
        claims = self.state.claims
        with self.state.lock:
            if owner in claims:
                raise Conflict(f"{owner} on {self.hostname} is in use by this process; stop it")
            if owner is not None:
                claims.add(owner)
        try:
            yield
        finally:
            if owner is not None:
                claims.discard(owner)

    def docker_user(self, targets: Mapping[str, str]) -> LinkAccepts:
        return FakeDockerUser(self.state)

    def listeners(self) -> Sequence[Listener]:
        return tuple(self.sockets)

    # -- for tests --------------------------------------------------------------------

    def add_uplink(
        self,
        name: str,
        cidr: str | IPInterface | None,
        *,
        mtu: int = 1500,
        kind: str = "physical",
        mac: str | None = None,
        up: bool = True,
        lower: str | None = None,
    ) -> Link:
        """Add a link that snnet finds but does not create, with its address.

        ``kind`` is the kind that the kernel reports ("physical", "bond", "vlan", "bridge",
        "veth" ...), ``lower`` the link that a macvlan stands on; ``mtu`` is in bytes.  Raises
        InvalidRequest for a malformed ``cidr``, and the error of the kernel's errno for values
        that the kernel refuses.
        """
        try:
            address = None if cidr is None else ip_interface(cidr)
        except ValueError as error:
            raise InvalidRequest(str(error), field="cidr") from None
        values: dict[str, Any] = {"name": name, "group": 0, "mtu": mtu, "mac": mac, "up": up}
        uplink: Link
        if kind == "bridge":
            uplink = Bridge(**values)
        elif kind == "veth":
            uplink = Veth(**values)
        else:
            uplink = Other(other_kind=kind, lower=lower, **values)
        with self.state.lock:
            try:
                self.links.plug(uplink)
                if address is not None:
                    self._addresses.add(Address(link=name, address=address))
            except Refusal as refusal:
                raise _as_error(refusal, f"add uplink {name}") from None
            found = self.state.link(name)
        assert found is not None
        return found

    def end_claims(self) -> None:
        """Do what the kernel does when a process is killed: nobody has its claims any more."""
        self.state.claims.clear()

    def fail(self, at: int, error: str = "ENOMEM") -> None:
        """Make the ``at``-th operation from now fail with this errno, once, without effect.

        Operations of the backend, the firewall and the DHCP driver all count, including
        those of roll-backs.  Several failures may be pending; a test whose failure never
        happens proves nothing: see ``pending_failures``.  Raises InvalidRequest if ``at`` is
        below 1 or ``error`` is not the name of an errno.
        """
        with self.state.lock:
            self.faults.fail(at, error)

    @property
    def pending_failures(self) -> tuple[str, ...]:
        """The failures of ``fail`` that have not happened yet, a line each."""
        with self.state.lock:
            return self.faults.pending

    def to_text(self) -> str:
        """Return everything on the host, one line per noun, in a stable order.

        Hosts in the same state have the same text.  It omits ifindexes.
        """
        with self.state.lock:
            return to_text(self.state)

    def __repr__(self) -> str:
        return f"<FakeKernel {self.hostname}>"


def open_kernel(host: Host) -> FakeKernel:
    """Open the backend ``fake``: a new kernel for the node.

    Its ``eth0`` has the first host address of the host's first network.  Without networks
    there is no ``eth0``.
    """
    kernel = FakeKernel()
    kernel.owner, kernel.networks = host.owner, tuple(host.networks)
    if kernel.networks:
        network = kernel.networks[0]
        # A network with one or two addresses has no network address to skip.
        offset = 1 if network.num_addresses > 2 else 0
        kernel.add_uplink("eth0", f"{network[offset]}/{network.prefixlen}")
    return kernel


def kernel_of(host: Host, field: str) -> FakeKernel:
    """Return the host, which must be a fake kernel; InvalidRequest if it is a real host."""
    if isinstance(host, FakeKernel):
        return host
    raise InvalidRequest("the driver 'fake' works only with the backend 'fake'", field=field)


_ANNOUNCED_MAX = 1000

_GAPS: dict[type[Noun], tuple[str, str]] = {
    Shaper: ("tbf", NO_SHAPERS),
    Redirect: ("mirred", NO_REDIRECTS),
}
"""What a kernel may lack beside kinds of link: its name in ``gaps``, and the reason."""


def _nobody(link: str, addresses: Collection[IPAddress], source: IPAddress) -> set[IPAddress]:
    return set()


def _is_automatic(noun: Noun) -> bool:
    return isinstance(noun, Address) and is_automatic(noun.address)


def _is_unmarked(noun: Noun) -> bool:
    return isinstance(noun, Namespace) and not noun.alias


def _as_error(refusal: Refusal, what: str) -> SnnetError:
    return error_for(refusal.errno, what, detail=refusal.detail)
