"""``Cnci.reconcile``: the complete wanted set of a concentrator in one call."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from snnet.config import Neighbor
from snnet.contract import (
    Change,
    DhcpScope,
    ExternalForward,
    IPAddress,
    Key,
    Masquerade,
    Operation,
    PortForward,
    PublicIp,
    SnnetError,
)
from snnet.core.addressing import Networks, written
from snnet.core.cnci_records import CnciRecords
from snnet.core.fitting import with_addresses
from snnet.core.requests import RemoteSubnet
from snnet.core.rules import Rule, rules_about, same_rule
from snnet.core.subnets import CnciSubnet, Scoping
from snnet.core.wanted import Exit, Subnet, Wanted

from .call import Call
from .calls.mesh import UpdateMesh
from .calls.mtu import CapMtu
from .calls.rules import DropRules, SetRules
from .calls.scopes import ChangeScope
from .calls.subnets import AddSubnet, DetachNode, RemoveSubnet
from .deadline import Deadline
from .engine import Engine
from .results import Reconciled
from .steps import Steps, steps_of


def reconcile_cnci(
    engine: Engine[CnciRecords],
    tenant_id: str,
    scoping: Scoping,
    wanted: Wanted,
    deadline: Deadline,
    *,
    atomic: bool,
) -> Reconciled:
    """See :meth:`snnet.Cnci.reconcile`."""
    with steps_of(engine, deadline, atomic=atomic) as steps:
        changed: set[Key] = set()
        for kind, rules in list(_rules(engine, wanted)):
            changed |= _drop_rules(steps, kind, rules)
        # A subnet may move from here to a peer of the mesh, or from a peer to here.
        subnets = wanted.subnets or ()
        rekeyed = {} if wanted.subnets is None else _remove_subnets(steps, subnets)
        if wanted.neighbors is not None:
            _reconcile_mesh(steps, tenant_id, wanted.neighbors)
        _add_subnets(steps, tenant_id, scoping, subnets, rekeyed)
        for kind, rules in _rules(engine, wanted):
            _set_rules(steps, kind, rules, changed)
    return steps.result


# -- subnets -----------------------------------------------------------------------


def _remove_subnets(
    steps: Steps[CnciRecords], wanted: Sequence[tuple[Subnet, Sequence[RemoteSubnet]]]
) -> dict[Networks, list[Rule]]:
    """Remove subnets that are not wanted, or have another key or link; return rules to set again.

    All are removed before one is added: a new one may have the key of an old one.
    """
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.subnets)
    keys = {subnet.networks: (subnet.key, subnet.link) for subnet, _ in wanted}
    rekeyed: dict[Networks, list[Rule]] = {}
    for networks, subnet in known.items():
        if networks not in keys:
            steps.attempt(_subnet_key(networks), "removed", RemoveSubnet(networks))
        elif (subnet.key, subnet.link) != keys[networks]:
            with steps.engine.claims.lock:
                rules = list(rules_about(subnet, steps.engine.records.rules.values()))
            try:
                steps.run(RemoveSubnet(networks))
            except SnnetError as error:
                steps.failed(_subnet_key(networks), error)
                with suppress(SnnetError):  # a repeat takes them along to the new subnet
                    steps.run(_setting(rules))
            else:
                rekeyed[networks] = rules
    return rekeyed


def _add_subnets(
    steps: Steps[CnciRecords],
    tenant_id: str,
    scoping: Scoping,
    wanted: Sequence[tuple[Subnet, Sequence[RemoteSubnet]]],
    rekeyed: Mapping[Networks, Sequence[Rule]],
) -> None:
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.subnets)
    failed = {item.key for item in steps.result.failed}
    for subnet, requests in wanted:
        key = _subnet_key(subnet.networks)
        if key in failed:
            continue
        calls: list[Call[CnciRecords, Any, Any, Any]] = []
        old, rules = known.get(subnet.networks), rekeyed.get(subnet.networks)
        action = "created" if old is None and rules is None else "updated"
        if old is not None:
            # A node whose address changed has its port still, and two may exchange their ports.
            calls += _detached(old, requests)
        if old is None or not _is_complete(steps, old, requests):
            calls += [AddSubnet(tenant_id, scoping, request) for request in requests]
        if old is not None and old.mtu != subnet.mtu:
            calls.append(CapMtu(subnet.networks, subnet.mtu))
        if (old.scope.entries if old else ()) != subnet.entries:
            calls.append(ChangeScope("reconcile", subnet.networks, _with_exactly(subnet)))
        if rules:
            calls.append(_setting(rules))
        steps.attempt(key, action if calls else "kept", *calls)


def _subnet_key(networks: Networks) -> tuple[str, ...]:
    return ("subnet", written(networks))


def _is_complete(
    steps: Steps[CnciRecords], known: CnciSubnet, requests: Sequence[RemoteSubnet]
) -> bool:
    remotes = {request.remote for request in requests if request.remote is not None}
    return remotes <= _fitting(known, requests) and steps.intact(known.nouns())


def _detached(known: CnciSubnet, requests: Sequence[RemoteSubnet]) -> Iterator[DetachNode]:
    """Yield the calls that remove the tunnels to compute nodes that are no longer wanted so."""
    fitting = _fitting(known, requests)
    for remote in [remote for remote in known.tunnels if remote not in fitting]:
        yield DetachNode(RemoteSubnet(networks=known.networks, key=known.key, remote=remote))


def _fitting(known: CnciSubnet, requests: Sequence[RemoteSubnet]) -> set[IPAddress]:
    """The far ends of the tunnels that have the wanted port."""
    ports = {request.remote: request.port for request in requests}
    return {
        remote
        for remote, tunnel in known.tunnels.items()
        if remote in ports and ports[remote] in (None, tunnel.wire_port)
    }


def _with_exactly(
    subnet: Subnet,
) -> Callable[[DhcpScope, Callable[[], bool]], list[Operation]]:
    """Return the change that gives a scope the wanted added entries."""

    def alter(scope: DhcpScope, _: Callable[[], bool]) -> list[Operation]:
        return [Change(replace(scope, entries=tuple(subnet.entries)), scope)]

    return alter


# -- the mesh ----------------------------------------------------------------------


def _reconcile_mesh(
    steps: Steps[CnciRecords], tenant_id: str, neighbors: Sequence[Neighbor]
) -> None:
    engine = steps.engine
    call = UpdateMesh(engine.records.site, tenant_id, neighbors)
    with engine.claims.lock:
        before = engine.records.mesh
    try:
        steps.run(call)
    except SnnetError as error:
        steps.failed(("mesh",), error)
        return
    with engine.claims.lock:
        after = engine.records.mesh
    if before is None and after is None:
        return
    action = "kept" if before == after else "updated"
    steps.note(("mesh",), "created" if before is None else action if after else "removed")


# -- rules -------------------------------------------------------------------------


def _rules(
    engine: Engine[CnciRecords], wanted: Wanted
) -> Iterator[tuple[type[Rule], Sequence[Rule]]]:
    """Yield each kind of rule to reconcile, with its rules."""
    if wanted.nat is not None:
        yield Masquerade, wanted.nat
    if wanted.exits is not None:
        yield ExternalForward, list(_external(engine, wanted.exits))
    if wanted.forwards is not None:
        yield PortForward, wanted.forwards
    if wanted.public_ips is not None:
        yield PublicIp, wanted.public_ips


def _external(engine: Engine[CnciRecords], exits: Iterable[Exit]) -> Iterator[ExternalForward]:
    """Yield the rules of the exits, with the bridge of the subnet where the node has it."""
    for device, networks in exits:
        with engine.claims.lock:
            subnet = engine.records.named(networks)
        yield ExternalForward(
            owner=str(engine.records.site.owner),
            device=device,
            bridge=subnet.bridge.name if subnet else written(networks),
        )


def _known(steps: Steps[CnciRecords], kind: type[Rule]) -> dict[Key, Rule]:
    with steps.engine.claims.lock:
        rules = steps.engine.records.rules.items()
        return {key: rule for key, rule in rules if isinstance(rule, kind)}


def _drop_rules(steps: Steps[CnciRecords], kind: type[Rule], rules: Sequence[Rule]) -> set[Key]:
    """Remove rules that are not wanted or differ; return the keys of those that differ."""
    wanted = {rule.key: rule for rule in rules}
    changed: set[Key] = set()
    for key, rule in _known(steps, kind).items():
        new, name, drop = wanted.get(key), _rule_key(steps, rule), DropRules.of("reconcile", [key])
        if new is None:
            steps.attempt(name, "removed", drop)
        elif not same_rule(new, rule):
            try:
                steps.run(drop)
            except SnnetError as error:
                steps.failed(name, error)
            else:
                changed.add(key)
    return changed


def _set_rules(
    steps: Steps[CnciRecords], kind: type[Rule], rules: Sequence[Rule], changed: Container[Key]
) -> None:
    """Set the wanted rules together; if one fails, set them one by one."""
    known, failed = _known(steps, kind), {item.key for item in steps.result.failed}
    actions: dict[Key, tuple[Rule, str]] = {}
    for rule in rules:
        old, key = known.get(rule.key), _rule_key(steps, rule)
        if key in failed:
            continue
        if old is None:
            actions[rule.key] = (rule, "updated" if rule.key in changed else "created")
        elif not steps.intact(with_addresses(old)):
            actions[rule.key] = (rule, "updated")
        else:
            steps.note(key, "kept")
    if not actions:
        return
    try:
        steps.run(_setting([rule for rule, _ in actions.values()]))
    except SnnetError:
        if steps.atomic:
            raise
        for rule, action in actions.values():
            steps.attempt(_rule_key(steps, rule), action, _setting([rule]))
        return
    for rule, action in actions.values():
        steps.note(_rule_key(steps, rule), action)


def _setting(rules: Sequence[Rule]) -> SetRules:
    return SetRules("reconcile", rules)


def _rule_key(steps: Steps[CnciRecords], rule: Rule) -> tuple[str, ...]:
    """Return what identifies a rule in a result: its kind, and its own identity."""
    match rule:
        case Masquerade():
            return ("nat", rule.device)
        case ExternalForward():
            with steps.engine.claims.lock:
                subnet = steps.engine.records.subnet_on(rule.bridge)
            return ("exit", rule.device, written(subnet.networks) if subnet else rule.bridge)
        case PortForward():
            at = (str(rule.address),) if rule.address else ()
            return ("forward", rule.protocol, rule.device, str(rule.port), *at)
        case PublicIp():
            return ("public_ip", str(rule.public))
