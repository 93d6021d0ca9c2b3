"""A concentrator's ways out and in: NAT, external forwarding, port and public addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from snnet.config import (
    Address,
    check_bool,
    check_choice,
    check_int,
    check_many,
    check_text,
    shown,
)
from snnet.contract import (
    PROTOCOLS,
    ExternalForward,
    InvalidRequest,
    Key,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    keyed,
)
from snnet.contract import Address as AddressNoun
from snnet.core.addressing import check_guest, check_ipv4, check_unicast
from snnet.core.concentrator import (
    Concentration,
    check_rule,
    public_key,
    same_rule,
    with_addresses,
)
from snnet.core.identity import is_ours
from snnet.core.planner import plan as make_plan

from .base import Node
from .claims import Claim, Thing
from .deadline import CancelToken
from .engine import incomplete


class Exits(Node):
    """What leads from a tenant's subnets to the outside and back.

    Every enabling call is all or nothing and may be repeated; every disabling
    one finds what it is to remove gone without complaint.
    """

    _known: Concentration

    def enable_nat(
        self,
        devices: Iterable[str],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Masquerade what leaves by these external devices."""
        rules = [
            Masquerade(owner=str(self.owner), device=device)
            for device in check_many(devices, "devices", self._external)
        ]
        self._rule("enable_nat", rules, True, timeout, cancel)

    def disable_nat(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Masquerade nothing any more."""
        with self._claims.lock:
            rules = [rule for rule in self._known.rules.values() if isinstance(rule, Masquerade)]
        self._rule("disable_nat", rules, False, timeout, cancel)

    def external_forwarding(
        self,
        enable: bool,
        device: str,
        bridge: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Let a subnet's bridge out by an external device; in only what was asked for."""
        self._device(enable, device)
        check_text(bridge, "bridge")
        bridges = {subnet.bridge.name for subnet in self._known.subnets.values()}
        if enable and bridge not in bridges:
            raise InvalidRequest(f"{bridge!r} is not a bridge of this concentrator", field="bridge")
        rule = ExternalForward(owner=str(self.owner), device=device, bridge=bridge)
        self._rule("external_forwarding", [rule], enable, timeout, cancel)

    def port_access(
        self,
        enable: bool,
        protocol: str,
        device: str,
        external_port: int,
        internal_ip: Address,
        internal_port: int,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Lead a port of an external device to a port of a guest.

        A port that leads elsewhere already is a Conflict.
        """
        rule = PortForward(
            owner=str(self.owner),
            protocol=check_choice(protocol, "protocol", PROTOCOLS),
            device=self._device(enable, device),
            port=check_int(external_port, "external_port", 1, 65535),
            target=self._internal(internal_ip, "internal_ip", enable),
            target_port=check_int(internal_port, "internal_port", 1, 65535),
            addresses=self._addresses_of(device) if enable else (),
        )
        self._rule("port_access", [rule], enable, timeout, cancel)

    def public_ip_access(
        self,
        enable: bool,
        internal_ip: Address,
        public_ip: Address,
        device: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Give a guest a public address, one to one; it stands on the device.

        With a floating pool configured, only its addresses are public.
        """
        device = self._device(enable, device)
        public = check_unicast(public_ip, "public_ip")
        if enable and (public == self.compute_ip or self._known.subnet_of(public)):
            raise InvalidRequest(
                f"{public} is this concentrator's own, or in one of its subnets", field="public_ip"
            )
        pool = tuple(self.config.floating_pool)
        if enable and pool and public not in pool:
            raise InvalidRequest(f"{public} is not in the floating pool", field="public_ip")
        rule = PublicIp(
            owner=str(self.owner),
            public=public,
            internal=self._internal(internal_ip, "internal_ip", enable),
            device=device,
        )
        self._rule("public_ip_access", [rule], enable, timeout, cancel)

    @property
    def public_ips(self) -> dict[IPv4Address, IPv4Address]:
        """Public address to internal address."""
        self._check_ready()
        with self._claims.lock:
            return {
                rule.public: rule.internal
                for rule in self._known.rules.values()
                if isinstance(rule, PublicIp)
            }

    def _addresses_of(self, device: str) -> tuple[IPv4Address, ...]:
        """The device's own addresses, by which guests reach what it forwards."""
        return tuple(
            noun.address.ip
            for noun in self.backend.snapshot({AddressNoun}).values()
            if isinstance(noun, AddressNoun)
            and noun.link == device
            and isinstance(noun.address.ip, IPv4Address)
            and public_key(self.owner, noun.address.ip) not in self._known.rules
        )

    def _device(self, enable: object, device: object) -> str:
        """The device of a rule, which must be there if the rule is to be made."""
        self._check_ready()
        if check_bool(enable, "enable"):
            return self._external(device, "device")
        return check_text(device, "device")

    def _external(self, device: object, field: str) -> str:
        """The name of a link that is there and not ours."""
        self._check_ready()
        link = self._link(device) if isinstance(device, str) else None
        if link is None or is_ours(link, self.owner) or link.kind == "loopback":
            raise InvalidRequest(
                f"{shown(device)} is not an external link of this host", field=field
            )
        return link.name

    def _internal(self, address: Address, field: str, enable: bool) -> IPv4Address:
        """A guest's address in one of the tenant's subnets."""
        ip = check_ipv4(address, field)
        if not enable:
            return ip
        subnet = self._known.subnet_of(ip)
        if subnet is None:
            raise InvalidRequest(f"{ip} is in no subnet of this concentrator", field=field)
        return check_guest(ip, subnet.network, field)

    def _rule(
        self,
        what: str,
        rules: Sequence[Noun],
        enable: bool,
        timeout: float | None,
        cancel: CancelToken | None,
    ) -> None:
        """Have the rules, or have them no more, and what comes along with them."""
        deadline = self._begin(what, timeout, cancel)
        wanted = keyed(rules)
        things: set[Thing] = {("rule", *key) for key in wanted}
        things |= {("guest", rule.internal) for rule in rules if isinstance(rule, PublicIp)}
        claim = Claim(frozenset(things))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            if enable:
                with self._claims.lock:
                    for rule in wanted.values():
                        check_rule(rule, self._known.rules)
                nouns = keyed(noun for rule in wanted.values() for noun in with_addresses(rule))
                # An address is ours only if its rule is; else it is an administrator's.
                known = [noun for key, noun in nouns.items() if self._rule_is_known(key, nouns)]
                found = self._drivers.find(known)
                self._set_up(told, make_plan(found, nouns), deadline, what)
                with self._claims.lock:
                    self._known.rules |= wanted
                return
            mine = [self._known.rules[key] for key, rule in wanted.items() if self._has(rule)]
            nouns = keyed(noun for rule in mine for noun in with_addresses(rule))
            outcome = self._tear_down(told, self._drivers.find(nouns.values()))
            if outcome.errors:
                raise incomplete(what, told.plan, outcome)
            with self._claims.lock:
                for rule in mine:
                    self._known.rules.pop(rule.key, None)

    def _has(self, rule: Noun) -> bool:
        return same_rule(rule, self._known.rules.get(rule.key))

    def _rule_is_known(self, key: Key, nouns: dict[Key, Noun]) -> bool:
        rules = self._known.rules
        return key in rules or any(
            noun.key in rules and key in keyed(with_addresses(noun)) for noun in nouns.values()
        )
