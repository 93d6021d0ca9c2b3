"""Many VNICs in one call, with shared work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from snnet.checks import check_many, of_item
from snnet.config import VnicConfig
from snnet.contract import Cancelled, FatalError, InvalidRequest, SnnetError, Timeout, Veto
from snnet.core.compute_records import ComputeRecords
from snnet.core.requests import GuestRequest, SubnetId, VnicId, tenant_identity

from .call import Mode
from .calls.layout import Layout
from .calls.vnics import ChangeVnics
from .deadline import Deadline
from .engine import Engine
from .results import DestroyedVnic, VnicResult

CHUNK = 64
"""The largest number of VNICs in one plan without ``atomic``: a failure undoes one plan."""


_OF_ALL = (Timeout, Cancelled, Veto, FatalError)
"""Errors that are about the whole call: trying its parts one by one would not help."""


def listed(cfgs: Iterable[VnicConfig], field: str) -> tuple[VnicConfig, ...]:
    """The configs as a list; each is checked where it is used."""
    return check_many(cfgs, field, lambda cfg, _: cfg)


def create_each(
    engine: Engine[ComputeRecords],
    layout: Layout[Any],
    cfgs: Iterable[VnicConfig],
    deadline: Deadline,
    *,
    atomic: bool,
) -> list[VnicResult]:
    """Create all VNICs; see :meth:`snnet.ComputeNode.create_vnics`."""
    results: dict[int, VnicResult] = {}
    requests: dict[int, GuestRequest] = {}
    for number, cfg in enumerate(listed(cfgs, "cfgs")):
        try:
            requests[number] = layout.request(cfg)
        except InvalidRequest as error:
            if atomic:
                raise of_item(error, f"cfgs[{number}]") from None
            results[number] = VnicResult(error=error)
    if atomic:
        results = _create(engine, layout, requests, deadline)
    else:
        with _closing(results):
            for part in _parts(requests):
                results |= create_part(engine, layout, part, deadline)
    return [results[number] for number in sorted(results)]


def create_part(
    engine: Engine[ComputeRecords],
    layout: Layout[Any],
    requests: dict[int, GuestRequest],
    deadline: Deadline,
) -> dict[int, VnicResult]:
    """Create these VNICs together; if one fails, create them one by one."""
    try:
        return _create(engine, layout, requests, deadline)
    except SnnetError as error:
        if len(requests) == 1 or isinstance(error, _OF_ALL):
            return dict.fromkeys(requests, VnicResult(error=error))
    results: dict[int, VnicResult] = {}
    with _closing(results):
        for number, request in requests.items():
            results |= create_part(engine, layout, {number: request}, deadline)
    return results


@contextlib.contextmanager
def _closing(results: dict[int, VnicResult]) -> Iterator[None]:
    """Close the descriptors of taps if the block raises, since the caller does not get them."""
    try:
        yield
    except BaseException:
        for result in results.values():
            for fd in result.vnic.fds if result.vnic else ():
                os.close(fd)
        raise


def _create(
    engine: Engine[ComputeRecords],
    layout: Layout[Any],
    requests: dict[int, GuestRequest],
    deadline: Deadline,
) -> dict[int, VnicResult]:
    call = ChangeVnics("create_vnics", layout, list(requests.values()))
    made = engine.run(call, deadline).made
    return {
        number: VnicResult(one.vnic, None, one.tunnel_event, one.container_info)
        for number, one in zip(requests, made, strict=True)
    }


def _parts(requests: dict[int, GuestRequest]) -> Iterator[dict[int, GuestRequest]]:
    """Yield the requests of one subnet at a time, in parts small enough to undo."""
    subnets: dict[SubnetId, list[int]] = {}
    for number, request in requests.items():
        subnets.setdefault(request.id[:2], []).append(number)
    for numbers in subnets.values():
        for start in range(0, len(numbers), CHUNK):
            yield {number: requests[number] for number in numbers[start : start + CHUNK]}


def destroy_all(
    engine: Engine[ComputeRecords],
    layout: Layout[Any],
    cfgs: Iterable[VnicConfig],
    deadline: Deadline,
) -> list[DestroyedVnic]:
    """Remove all VNICs; see :meth:`snnet.ComputeNode.destroy_vnics`."""
    identities: list[VnicId] = []
    for number, cfg in enumerate(listed(cfgs, "cfgs")):
        try:
            identities.append(tenant_identity(cfg))
        except InvalidRequest as error:
            raise of_item(error, f"cfgs[{number}]") from None
    each = list(dict.fromkeys(identities))
    call = ChangeVnics("destroy_vnics", layout, gone=each, mode=Mode.PRESS_ON)
    gone = dict(zip(each, engine.run(call, deadline).gone, strict=True))
    return [gone[identity] for identity in identities]
