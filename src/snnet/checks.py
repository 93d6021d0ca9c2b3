"""Checks of what callers pass in: each returns the value in its one form, or raises InvalidRequest.

The error names the ``field``.  Addresses and networks may be strings or ``ipaddress`` objects,
and are returned as ``ipaddress`` objects.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, TypeVar

from snnet.contract import InvalidRequest, IPAddress, IPNetwork
from snnet.contract.addresses import MTU_MAX, MTU_MIN, NO_MAC, is_mac, is_multicast_mac
from snnet.contract.errors import shown as shown
from snnet.contract.links import is_link_name
from snnet.contract.values import plain_int, plain_text

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Address = IPAddress | str
Network = IPNetwork | str
Cidrs = Network | tuple[Network, ...]


def check_id(value: object, field: str) -> str:
    """Check an id: 1 to 64 of ``A-Z a-z 0-9 . _ -``, starting with a letter or a digit."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return plain_text(value)
    advice = "" if isinstance(value, str) else "; in YAML, write it in quotes"
    raise InvalidRequest(
        f"{shown(value)} is not an id: give 1 to 64 of A-Z a-z 0-9 . _ -, "
        f"starting with a letter or a digit{advice}",
        field=field,
    )


def check_address(value: object, field: str) -> IPAddress:
    """Check an IP address: text or an ``ipaddress`` object, without prefix or zone."""
    if type(value) is IPv4Address:
        return value
    address: object = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            address = ip_address(value)
    # An interface is a subclass of an address, and prints with its prefix.
    if (
        isinstance(address, (IPv4Address, IPv6Address))
        and not isinstance(address, (IPv4Interface, IPv6Interface))
        and not _has_zone(address)
    ):
        return address
    raise InvalidRequest(f"{shown(value)} is not an IP address like '10.1.0.9'", field=field)


_F = TypeVar("_F", bound=IPAddress | IPNetwork)


def check_families(value: object, field: str, check: Callable[[object, str], _F]) -> tuple[_F, ...]:
    """Check one value, or a list of one of each family; return IPv4 before IPv6."""
    if not isinstance(value, (tuple, list)):
        return (check(value, field),)
    checked: tuple[_F, ...] = check_many(value, field, check)
    found = {item.version: item for item in checked}
    if not checked or len(found) < len(checked):
        raise InvalidRequest(
            f"{shown(value)} is not one value, nor one of each family, IPv4 and IPv6", field=field
        )
    return tuple(found[version] for version in sorted(found))


def _has_zone(address: IPAddress) -> bool:
    """Whether an IPv6 address has a zone, the name of a link (RFC 4007, section 11)."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def check_network(value: object, field: str) -> IPNetwork:
    """Check a network in CIDR notation; host bits are refused."""
    if type(value) is IPv4Network:
        return value
    network: object = value
    if isinstance(value, str) and "/" in value:
        try:
            network = ip_network(value)
        except ValueError as error:
            raise InvalidRequest(
                f"{shown(value)} is not a network like '10.1.0.0/24': {str(error)[:300]}",
                field=field,
            ) from None
    if isinstance(network, (IPv4Network, IPv6Network)) and not _has_zone(network.network_address):
        return network
    raise InvalidRequest(f"{shown(value)} is not a network like '10.1.0.0/24'", field=field)


def check_block(value: object, field: str) -> IPAddress | IPNetwork:
    """Check an address or a network; a network of one address is returned as the address."""
    if isinstance(value, (IPv4Network, IPv6Network)) or (isinstance(value, str) and "/" in value):
        network = check_network(value, field)
        return network[0] if network.prefixlen == network.max_prefixlen else network
    return check_address(value, field)


def check_mac(value: object, field: str) -> str:
    """Check a unicast MAC address and return it in lower case."""
    mac = value.lower() if isinstance(value, str) else ""
    if not is_mac(mac):
        raise InvalidRequest(f"{shown(value)} is not a MAC like '02:00:0a:01:00:09'", field=field)
    if is_multicast_mac(mac):
        raise InvalidRequest(
            f"{mac} is a multicast address (its first byte is odd): give a unicast MAC", field=field
        )
    if mac == NO_MAC:
        raise InvalidRequest(f"{mac} is not a MAC of any device: give a unicast MAC", field=field)
    return mac


def check_int(value: object, field: str, low: int, high: int) -> int:
    """Check a whole number from ``low`` to ``high``.  A bool is refused."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return plain_int(value)
    raise InvalidRequest(f"{shown(value)} is not a whole number from {low} to {high}", field=field)


def check_uid(value: object, field: str) -> int:
    """A user id of Linux: 2**32 - 1 stands for none."""
    return check_int(value, field, 0, 2**32 - 2)


def check_mtu(value: object, field: str) -> int:
    return check_int(value, field, MTU_MIN, MTU_MAX)


_T = TypeVar("_T")


def check_type(value: object, field: str, kind: type[_T]) -> _T:
    """Check an object of one of snnet's own classes."""
    if isinstance(value, kind):
        return value
    raise InvalidRequest(f"{shown(value)} is not a snnet.{kind.__name__}", field=field)


_E = TypeVar("_E", bound=enum.Enum)


def check_enum(value: object, field: str, kind: type[_E]) -> _E:
    """Check a member of ``kind``, given as the member or as its value."""
    try:
        return kind(value)
    except (ValueError, RecursionError):  # RecursionError: no message can show it
        known = ", ".join(repr(member.value) for member in kind)
        raise InvalidRequest(f"{shown(value)} is not one of {known}", field=field) from None


def check_choice(value: object, field: str, known: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return plain_text(value)
    raise InvalidRequest(f"{shown(value)} is not one of {', '.join(map(repr, known))}", field=field)


def check_bool(value: object, field: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequest(f"{shown(value)} is neither True nor False", field=field)


def check_seconds(value: object, field: str, *, zero: bool = False) -> float:
    """Check seconds to wait: above 0, with ``zero`` also 0, and not above what a lock can wait."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (value > 0 or (zero and value == 0))
        and value <= threading.TIMEOUT_MAX
    ):
        return value
    least = "" if zero else " above 0"
    raise InvalidRequest(f"{shown(value)} is not a number of seconds{least}", field=field)


def check_callable(value: object, field: str) -> Callable[..., Any]:
    """Check what is called later: calling it must run it, and not only prepare that."""
    if not callable(value):
        raise InvalidRequest(f"{shown(value)} cannot be called", field=field)
    if does_nothing(value):
        raise InvalidRequest(
            f"{shown(value)} is asynchronous or a generator, and a call of it would do nothing: "
            "give a plain function",
            field=field,
        )
    return value


def does_nothing(function: Callable[..., Any]) -> bool:
    """Whether a call only returns a coroutine or a generator, which nobody would run."""
    kinds = (
        inspect.iscoroutinefunction,
        inspect.isasyncgenfunction,
        inspect.isgeneratorfunction,
    )
    return any(kind(function) for kind in kinds)


def check_text(value: object, field: str) -> str:
    if isinstance(value, str):
        return plain_text(value)
    raise InvalidRequest(f"{shown(value)} is not text", field=field)


def check_link_name(value: object, field: str) -> str:
    """Check the name of a link, which need not exist."""
    if isinstance(value, str) and is_link_name(value):
        return plain_text(value)
    raise InvalidRequest(f"{shown(value)} is not the name of a link", field=field)


def check_many(value: object, field: str, check: Callable[[object, str], Any]) -> tuple[Any, ...]:
    """Check each item of a list; the error names the item by ``field`` and position."""
    # A network is iterable too: iterating over a /64 never ends.
    no_list = (str, bytes, Mapping, IPv4Network, IPv6Network)
    if isinstance(value, no_list) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{shown(value)} is not a list", field=field)
    return tuple(check(item, f"{field}[{number}]") for number, item in enumerate(value))


def of_item(error: InvalidRequest, where: str) -> InvalidRequest:
    """The error about one item of a list, which also says which one: "forwards[1].to"."""
    inner = "" if error.field in (None, "cfg") else f".{error.field}"
    message = str(error).removeprefix(f"{error.field}: ")
    return InvalidRequest(message, field=where + inner)


@contextlib.contextmanager
def part_of(where: str) -> Iterator[None]:
    """Name an item in the errors about its own fields; see ``of_item``."""
    try:
        yield
    except InvalidRequest as error:
        raise of_item(error, where) from error
