"""Routes of the main table (net/ipv4/fib_semantics.c, net/ipv6/route.c)."""

from __future__ import annotations

from snnet.contract import IPAddress, PolicyRule, Route
from snnet.contract.addresses import IPV6_MTU_MIN

from .addresses import is_broadcast
from .refusal import Refusal
from .state import State
from .sysctls import ipv6_is_disabled


class RouteRules:
    """Add, change and remove static unicast routes."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Route) -> None:
        self._check(noun)
        # One route per destination and metric, on any link.  Connected routes conflict in
        # IPv4; in IPv6 they have another metric.
        hops = self._state.table(noun.table).exact(noun.destination)
        if any(not hop.connected or noun.destination.version == 4 for hop in hops):
            raise Refusal("EEXIST")
        self._state.put_route(noun)

    def change(self, noun: Route, old: Route) -> None:
        found = self._find(noun)
        if wrong := noun.differences(old) - noun.changeable:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        self._check(noun)
        self._state.drop_route(found)
        self._state.put_route(noun)

    def remove(self, noun: Route) -> None:
        found = self._find(noun)
        if noun.gateway is not None and noun.gateway != found.gateway:
            raise Refusal("ESRCH", f"the gateway is {found.gateway}")
        if noun.protocol != found.protocol:
            raise Refusal("ESRCH", f"the protocol is {found.protocol}")
        self._state.drop_route(found)

    def _find(self, noun: Route) -> Route:
        if self._state.link(noun.link) is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        found = self._state.nouns.get(noun.key)
        if not isinstance(found, Route):
            raise Refusal("ESRCH")
        return found

    def _check(self, noun: Route) -> None:
        """Refuse what ``fib_check_nh`` or ``ip6_route_check_nh`` refuses."""
        link = self._state.link(noun.link)
        if link is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        if noun.gateway is not None and noun.gateway.version != noun.destination.version:
            raise Refusal("EOPNOTSUPP", "the gateway has another address family")
        if noun.destination.version == 6 and (link.mtu or 0) < IPV6_MTU_MIN:
            raise Refusal("ENODEV", f"no IPv6 on {link.name}")
        disabled = noun.destination.version == 6 and ipv6_is_disabled(self._state, link.name)
        if not link.up and not (disabled and not noun.onlink):
            raise Refusal("ENETDOWN", "device for nexthop is not up")
        if noun.gateway is not None and noun.gateway.version == 4:
            self._check_gateway4(noun.gateway, noun)
        elif noun.gateway is not None:
            self._check_gateway6(noun.gateway, noun)
        if disabled:  # fib6_nh_init
            raise Refusal("EACCES", "IPv6 is disabled on nexthop device")

    def _check_gateway4(self, gateway: IPAddress, noun: Route) -> None:
        links = self._state.local.get(gateway, ())
        if noun.onlink:
            if links or gateway.is_multicast or gateway.is_loopback or self._broadcast(gateway):
                raise Refusal("EINVAL", "nexthop has invalid gateway")
        elif noun.link not in links:
            if not self._reached_directly(gateway, noun.link):
                raise Refusal("ENETUNREACH", "nexthop has invalid gateway")
            if self._broadcast(gateway):
                raise Refusal("EINVAL", "nexthop has invalid gateway")

    def _check_gateway6(self, gateway: IPAddress, noun: Route) -> None:
        links = self._state.local.get(gateway, ())
        # Other links may have the same link-local address (ipv6_chk_addr_and_flags).
        if noun.link in links if gateway.is_link_local else links:
            raise Refusal("EINVAL", "gateway can not be a local address")
        if gateway.is_multicast or gateway.is_unspecified:
            raise Refusal("EINVAL", "invalid gateway address")
        if gateway.is_link_local:
            return
        if noun.onlink:
            self._check_onlink6(gateway, noun.link)
        elif not self._reached_directly(gateway, noun.link):
            raise Refusal("EHOSTUNREACH")

    def _check_onlink6(self, gateway: IPAddress, link: str) -> None:
        """Refuse a gateway that is reached by another link (ip6_route_check_nh_onlink)."""
        hops = self._state.fib.closest(gateway)
        # Connected routes are preferred by metric: 256 against 1024.
        best = [hop.link for hop in hops if hop.connected == hops[0].connected]
        if best and link not in best:
            raise Refusal("EINVAL", "nexthop has invalid gateway or device mismatch")

    def _reached_directly(self, gateway: IPAddress, link: str) -> bool:
        """Return whether the link has a route to the gateway without another gateway."""
        return any(
            hop.link == link and hop.gateway is None for hop in self._state.fib.covering(gateway)
        )

    def _broadcast(self, gateway: IPAddress) -> bool:
        return is_broadcast(self._state, gateway)


class PolicyRules:
    """Add and remove rules that choose a table by the source (fib_nl_newrule)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: PolicyRule) -> None:
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)

    def change(self, noun: PolicyRule, old: PolicyRule) -> None:
        raise Refusal("EOPNOTSUPP", "a rule cannot be changed in place")

    def remove(self, noun: PolicyRule) -> None:
        if self._state.nouns.get(noun.key) != noun:
            raise Refusal("ENOENT")
        self._state.drop(noun)
