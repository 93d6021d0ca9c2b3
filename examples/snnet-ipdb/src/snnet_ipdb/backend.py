"""The driver: links and addresses of one host through IPDB.

It reads from IPDB's database, and IPDB's command socket carries out operations.  It does
not use IPDB's transactions, because they break promises of the contract: a
``create().commit()`` adopts a link that another program created in the meantime, and any
commit removes addresses that others have added since the transaction began.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import struct
from collections.abc import Iterable
from typing import Any, ClassVar

from pr2modules.netlink.exceptions import NetlinkError

from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Driver,
    Host,
    Key,
    Link,
    Missing,
    Noun,
    Operation,
    Other,
    SnnetError,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
    Watch,
    error_for,
    keyed,
)
from snnet.contract.links import DYING_GROUPS

from . import records, requests, taps
from .database import Database
from .watch import IpdbWatch

_FIRST_INDEX, _LAST_INDEX = 1 << 20, (1 << 31) - 1
_TRIES = 8


class IpdbBackend(Driver):
    """Bridges, taps, veth pairs, vxlans and addresses.

    It holds the sockets and threads of IPDB, and one more thread in the host's namespace;
    ``close()`` ends them all.
    """

    name: ClassVar[str] = "ipdb"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset({Bridge, Tap, Veth, Vxlan, Other, Address})

    def __init__(self, host: Host) -> None:
        self.host = host
        self._database = Database(host.netns.descriptor_for("ipdb", "backend"))
        self._there: set[str] = set()
        """Kinds of link that this kernel is known to have."""

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the ipdb backend does not carry {type(noun).__name__}: use backend 'netlink'"
        if isinstance(noun, Other):
            return f"snnet only reads links of kind {noun.kind} and cannot create them"
        if isinstance(noun, Tap) and (noun.multi_queue or noun.queues != 1):
            return "the ipdb backend creates taps with one queue only: use backend 'netlink'"
        if isinstance(noun, Tap) and noun.user:
            return "the ipdb backend creates taps of root only: use backend 'netlink'"
        if isinstance(noun, Tap | Veth) and noun.proxy_arp:
            return "the ipdb backend has no proxy ARP: use backend 'netlink', or another mode"
        if isinstance(noun, Address) and noun.deprecated:
            return "IPDB does not know the lifetime of an address: use backend 'netlink'"
        if isinstance(noun, Link) and noun.settings:
            return "the ipdb backend sets nothing of bridge ports: use backend 'netlink'"
        if not isinstance(noun, Link) or noun.kind in self._there:
            return None
        reason = _no_tun() if isinstance(noun, Tap) else self._no_kind(noun.kind)
        if reason is None:
            self._there.add(noun.kind)
        return reason

    def _no_kind(self, kind: str) -> str | None:
        """Request a link with more queues than allowed: the kernel looks up the kind first
        and creates nothing (rtnl_create_link, net/core/rtnetlink.c)."""
        request = {"kind": kind, "ifname": "snnet-probe", "num_tx_queues": 1 << 16}
        try:
            self._database.call(lambda: self._ask("link", "add", **request))
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                return f"this kernel has no {kind}: load {kind}"
        return None

    # Reading

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`.

        IPv6 link-local addresses, which the kernel adds by itself, are not included.
        """
        wanted = tuple(self.carries if types is None else types)

        def read(found: records.Records) -> list[Noun]:
            nouns: list[Noun] = list(records.links(found))
            for noun in tuple(nouns):
                nouns += records.addresses(found[noun.key[1]])
            return [noun for noun in nouns if isinstance(noun, wanted)]

        return keyed(self._database.call(lambda: self._database.look(read)))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        if not isinstance(noun, Link | Address):
            return None
        name = noun.name if isinstance(noun, Link) else noun.link

        def read(found: records.Records) -> Noun | None:
            record = found.get(name)
            if record is None:
                return None
            if isinstance(noun, Link):
                return records.link(record, found)
            return keyed(records.addresses(record)).get(noun.key)

        return self._database.call(lambda: self._database.look(read, name))

    # Doing

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`."""
        try:
            self._refuse_gaps(operation)
            self._database.call(lambda: self._carry_out(operation))
        except (OSError, NetlinkError, struct.error) as error:
            raise _translated(error, operation) from error

    def _refuse_gaps(self, operation: Operation) -> None:
        if isinstance(operation, Add) or type(operation.noun) not in self.carries:
            reason = self.missing(operation.noun)
            if reason is not None:
                raise Unsupported(f"cannot {operation}: {reason}")

    def _carry_out(self, operation: Operation) -> None:
        noun = operation.noun
        if isinstance(operation, Change):
            if not isinstance(noun, Link) or not isinstance(operation.old, Link):
                raise Unsupported(f"cannot {operation}: its nouns cannot be changed in place")
            self._change(noun, operation.old)
        elif isinstance(noun, Address):
            verb = "add" if isinstance(operation, Add) else "del"
            self._ask("addr", verb, **requests.address(noun, self._index(noun.link)))
        elif isinstance(operation, Add):
            assert isinstance(noun, Link)
            self._add(noun)
        else:
            assert isinstance(noun, Link)
            self._ask("link", "del", index=self._owned(noun).index)

    def _add(self, link: Link) -> None:
        requests.check(link)
        master = None if link.master is None else self._index(link.master)
        if isinstance(link, Tap):
            everything = requests.settings(link, {"mtu", "mac", "group", "up"})
            everything |= requests.settings(link, {"alias"} if link.alias else set())
            if master is not None:
                everything["master"] = master
            taps.make_tap(link.name, lambda index: self._set(index, everything))
            return
        index = self._create(link, master)
        try:
            for request in requests.completion(link):
                self._set(index, request)
        except BaseException:
            with contextlib.suppress(NetlinkError):
                self._ask("link", "del", index=index)
            raise

    def _create(self, link: Link, master: int | None) -> int:
        """Create the link; return its index, which we choose unless the noun does."""
        for left in reversed(range(_TRIES)):
            index = link.index or _FIRST_INDEX + secrets.randbelow(_LAST_INDEX - _FIRST_INDEX)
            try:
                self._ask("link", "add", **requests.creation(link, index, master))
                return index
            except NetlinkError as error:
                # The index may be in use, and not the name or the peer's name.
                taken = error.code in (errno.EEXIST, errno.EBUSY)
                if link.index or not left or not taken or self._names_taken(link):
                    raise
        raise AssertionError("not reached")

    def _names_taken(self, link: Link) -> bool:
        if isinstance(link, Vxlan):
            return True  # a vxlan with the same id and port is EEXIST as well
        ends = [link.name]
        if isinstance(link, Veth) and link.peer is not None:
            ends.append(link.peer)
        return len(set(ends)) < len(ends) or any(map(self._database.index, ends))

    def _change(self, new: Link, old: Link) -> None:
        """Set what differs; undo it if the kernel applied only a part."""
        before = self._owned(old)
        wrong = new.differences(old) - new.changeable
        if wrong or type(new) is not type(old) or new.name != old.name:
            raise Unsupported(
                f"{', '.join(sorted(wrong)) or 'the kind'} cannot be changed in place"
            )
        requests.check(new)
        differences = new.differences(before) & new.changeable
        if not differences:
            return
        request = self._changes(new, differences)
        try:
            self._set(before.index, request)
        except NetlinkError:
            with contextlib.suppress(NetlinkError):
                self._set(before.index, self._changes(before, differences))
            raise

    def _changes(self, link: Link, names: frozenset[str]) -> requests.Request:
        request = requests.settings(link, names)
        if "master" in names:
            request["master"] = 0 if link.master is None else self._index(link.master)
        return request

    def _owned(self, link: Link) -> Link:
        """Return the link of this noun; ``Missing`` if another link has the name now."""

        def read(found: records.Records) -> Link | None:
            record = found.get(link.name)
            return None if record is None else records.link(record, found)

        found = self._database.look(read, link.name)
        if found is None:
            raise error_for(errno.ENODEV, f"find {link.kind} {link.name}")
        same_group = found.group == link.group or found.group in DYING_GROUPS
        if (found.kind, found.alias) != (link.kind, link.alias) or not same_group:
            raise Missing(
                f"{link.kind} {link.name} is gone: its name belongs to a foreign link, "
                f"which is left alone: {found}",
                errno=errno.ENODEV,
            )
        return found

    def _index(self, name: str) -> int:
        index = self._database.index(name)
        if index is None:
            raise error_for(errno.ENODEV, f"find link {name}")
        return index

    def _set(self, index: int, request: requests.Request) -> None:
        """Set all this on the link with this index; an alias needs a second message."""
        plain = {name: value for name, value in request.items() if name != "ifalias"}
        try:
            if plain:
                self._ask("link", "set", index=index, **plain)
        except NetlinkError as error:
            # The link has no IPv6, so it gets no link-local address.
            if error.code != errno.EAFNOSUPPORT or "IFLA_AF_SPEC" not in plain:
                raise
            del plain["IFLA_AF_SPEC"]
            self._ask("link", "set", index=index, **plain)
        if "ifalias" in request:
            self._database.set_alias(index, request["ifalias"])

    def _ask(self, what: str, verb: str, **request: Any) -> None:
        getattr(self._database.ipdb.nl, what)(verb, **request)

    def watch(self) -> Watch:
        """See :meth:`snnet.contract.Driver.watch`."""
        return IpdbWatch(self._database)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._database.close()


def _translated(error: OSError | NetlinkError | struct.error, operation: Operation) -> SnnetError:
    """Return an error of IPDB's socket or the kernel as an error of the contract."""
    if isinstance(error, NetlinkError):
        return error_for(error.code, str(operation), operation=operation)
    if isinstance(error, struct.error):
        return error_for(errno.EINVAL, str(operation), detail=str(error), operation=operation)
    return error_for(error.errno or errno.EIO, str(operation), operation=operation)


def _no_tun() -> str | None:
    try:
        os.close(os.open(taps.DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return (
            f"this host cannot create taps: {taps.DEVICE}: {os.strerror(error.errno or 0)}; "
            "load the module tun"
        )
    return None
