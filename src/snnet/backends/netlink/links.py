"""Creating, changing, removing and reading links."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterable

from snnet.backends.linux import (
    MACVTAP_TRIES,
    check_change,
    check_same,
    comes_up_later,
    free_macvtap_index,
    starts_anew,
    without_link_local,
)
from snnet.backends.settings import Setting, may_follow_bridge, of_bridges_down, to_change, to_set
from snnet.contract import Bridge, Link, Macvtap, Sysctl, Tap, Veth, Vxlan
from snnet.contract.network import link_sysctl
from snnet.contract.parameters import is_routed, quiet_parameters, routed_parameters
from snnet.system.netlink import NetlinkError

from .answers import Answer, Answers
from .codec import Values, kind_field
from .creation import (
    ADDRESS,
    CHANGE,
    FLAGS,
    GROUP,
    IFNAME,
    INDEX,
    MASTER,
    MTU,
    NO_LINK_LOCAL,
    creation,
)
from .encoder import U32, Field, append
from .found import IFF_ALLMULTI, IFF_UP, IFLA_IFALIAS, ParsedLink
from .kernel import (
    CREATE,
    ECHO,
    EXCLUSIVE,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    Kernel,
)
from .kinds.veth import PEER_NAMESPACE
from .namespaces import opened_peer
from .settings import setting_message
from .sysctls import Sysctls
from .taps import TapMaker

_NO_STATISTICS = Field("IFLA_EXT_MASK", U32, 1 << 3)  # RTEXT_FILTER_SKIP_STATS
_VXLAN = kind_field("vxlan")

MANY = 32
"""Links from which on one listing takes less than to look up each."""


class Links:
    """The links of one network namespace."""

    def __init__(self, kernel: Kernel, sysctls: Sysctls) -> None:
        self._kernel = kernel
        self._sysctls = sysctls
        self._taps = TapMaker(kernel.netns)
        self._answers = Answers(kernel)

    def close(self) -> None:
        self._taps.close()

    # Reading

    def _dump(self) -> list[bytes]:
        return self._kernel.dump(RTM_GETLINK, {_NO_STATISTICS: None})

    def parsed(self) -> list[ParsedLink]:
        """Return the kernel's description of every link."""
        return [ParsedLink.parse(message) for message in self._dump()]

    def named(self, names: Iterable[str]) -> dict[str, Answer]:
        """Return the links of these names by one listing, or nothing where they are few."""
        wanted = set(names)
        if len(wanted) < MANY:
            return {}
        found = self._answers.listed(self._dump())
        return {link.name: link for link in found if link.name in wanted}

    def snapshot(self) -> list[Link]:
        return of_bridges_down([link.noun for link in self._answers.listed(self._dump())])

    def vxlans(self) -> list[Vxlan]:
        """Return the vxlans alone; what they name (``master``) is there as its index.

        The kernel leaves out the others (rtnl_dump_ifinfo), if it knows the kind.
        """
        found = self._kernel.dump(RTM_GETLINK, {_NO_STATISTICS: None, _VXLAN: None})
        links = (ParsedLink.parse(message) for message in found)
        nouns = [link.noun(str) for link in links if link.kernel_kind == "vxlan"]
        return [noun for noun in nouns if isinstance(noun, Vxlan)]

    def find(self, noun: Link) -> Link | None:
        try:
            return self._beside_bridge(self._found(noun.name))
        except NetlinkError as error:
            if error.errno in (errno.ENODEV, errno.ERANGE, errno.EINVAL):
                return None
            raise

    def _beside_bridge(self, link: Link) -> Link:
        """The link, without a state that it has from its bridge."""
        if may_follow_bridge(link) and link.master:
            return of_bridges_down([link, self._found(link.master)])[0]
        return link

    def _found(self, name: str) -> Link:
        return self._answers.noun(name, self._ask(name))

    def _ask(self, name: str) -> bytes:
        """Return the kernel's description of a link."""
        return self._kernel.look_up(RTM_GETLINK, {IFNAME: name, _NO_STATISTICS: None})

    def look_up(self, name: str) -> ParsedLink:
        """Return the kernel's description of a link; ``NetlinkError`` (ENODEV) without one."""
        return ParsedLink.of(name, self._ask(name))

    def owned(self, link: Link) -> ParsedLink:
        """Return the link that the noun describes, as it is now.

        Raises ``Missing`` if a different link has the name now: one of another kind,
        or without the alias and the group of the noun.
        """
        found = self.look_up(link.name)
        check_same(link, found)
        return found

    # Creating

    def add(self, link: Link) -> tuple[int, ...]:
        """Create the link completely or not at all; return descriptors of a multi-queue tap."""
        if isinstance(link, Tap):
            return self._taps.make(link, self._tap_finish(link))
        if isinstance(link, Veth) and link.peer_namespace is not None:
            with opened_peer(link.peer_namespace) as namespace:
                return self._add(link, {PEER_NAMESPACE: namespace})
        return self._add(link, {})

    def _add(self, link: Link, more: Values) -> tuple[int, ...]:
        fields = creation(link, self._kernel.index) | more
        steps = _follow_ups(link)
        parameters = _parameters(link)
        learn = bool(steps or link.settings or any(parameters))
        if isinstance(link, Macvtap) and not link.index:
            index = self._create_macvtap(link, fields, learn=learn)
        else:
            index = self._create(link, fields, learn=learn)
        try:
            self._sysctls.write(*parameters)
            for values, alias in steps:
                self._set({INDEX: index, **values}, alias)
            self._set_settings(index, to_set(link, None))
        except BaseException:
            with contextlib.suppress(OSError):
                self.delete(index)
            raise
        return ()

    def _tap_finish(self, tap: Tap) -> Callable[[], object]:
        """Return a function that completes a new tap; look up everything it needs first."""
        message = self.tap_message(tap)

        def finish() -> None:
            if tap.proxy_arp:
                index = self._kernel.index(tap.name)
                self._set({INDEX: index, NO_LINK_LOCAL: None}, None)
            self._quieten(tap)
            self._kernel.send(message)
            if tap.settings:
                self._set_settings(self._kernel.index(tap.name), to_set(tap, None))

        return finish

    def _quieten(self, link: Link) -> None:
        """Set the kernel parameters of the link, before it comes up."""
        self._sysctls.write(*_parameters(link))

    def tap_message(self, tap: Tap) -> bytearray:
        """Return the message, by name, that sets everything else of a new tap."""
        values: Values = {FLAGS: IFF_UP, CHANGE: IFF_UP} if tap.up else {}
        values |= {IFNAME: tap.name, GROUP: tap.group}
        if tap.mac is not None:
            values[ADDRESS] = tap.mac
        if tap.mtu is not None:
            values[MTU] = tap.mtu
        if tap.master is not None:
            values[MASTER] = self._kernel.index(tap.master)
        message = self._kernel.message(RTM_SETLINK, values)
        if tap.alias:
            append(message, IFLA_IFALIAS, tap.alias.encode())
        return message

    def _create(self, link: Link, fields: Values, *, learn: bool) -> int:
        """Create the link; return its index if ``learn``, else 0."""
        flags = CREATE | EXCLUSIVE | (ECHO if learn else 0)
        answers = self._kernel.ask(RTM_NEWLINK, fields, flags)
        if not learn:
            return 0
        if answers:
            return ParsedLink.parse(answers[0]).index
        # Before Linux 6.2 the kernel does not echo a new link.  A link found by name could
        # be a foreign one, so compare it with what was created.
        found = self.owned(dataclasses.replace(link, alias=""))
        if link.mac not in (None, found.mac):
            raise NetlinkError(errno.ENODEV, f"a foreign link took the name {link.name}")
        return found.index

    def _create_macvtap(self, link: Macvtap, fields: Values, *, learn: bool) -> int:
        for left in reversed(range(MACVTAP_TRIES)):
            fields[INDEX] = free_macvtap_index()
            try:
                return self._create(link, fields, learn=learn)
            except NetlinkError as error:
                # EBUSY: the index is in use; EEXIST: the name is, or tapN in sysfs.
                if error.errno not in (errno.EBUSY, errno.EEXIST) or not left:
                    raise
                if self.find(link) is not None:
                    raise
        raise AssertionError("not reached")

    # Changing and removing

    def change(self, new: Link, old: Link) -> None:
        """Set what differs in one message; undo it if the kernel applied only a part."""
        found = self.owned(old)
        before = self._beside_bridge(found.noun(self._kernel.name))
        check_change(new, old)
        differences = new.differences(before) & new.changeable
        if not differences:
            return
        try:
            self._change(found.index, new, before, differences)
        except OSError:
            with contextlib.suppress(OSError):
                mtu = self.look_up(new.name).noun(self._kernel.name).mtu  # new, or as before
                self._change(found.index, before, dataclasses.replace(new, mtu=mtu), differences)
            raise

    def _change(self, index: int, link: Link, was: Link, names: frozenset[str]) -> None:
        if link.up and "up" in names:
            # It may be down because its creation was interrupted before this.
            self._quieten(link)
        if names - {"settings"}:
            self._set(*self._changes(index, link, names))
        if "mtu" in names and starts_anew(link, was):
            self._start_anew(index, link)
        self._set_settings(index, to_change(link, was, names))

    def _set_settings(self, index: int, settings: Iterable[tuple[str, Setting, int]]) -> None:
        for kind, setting, value in settings:
            self._kernel.send(setting_message(index, kind, setting, value))

    def _start_anew(self, index: int, link: Link) -> None:
        """Set the parameters again of a link whose IPv6 is new, and remove what it has got."""
        disabled = Sysctl(name=link_sysctl("ipv6.conf", link.name, "disable_ipv6"))
        before = self._sysctls.find(disabled)
        self._sysctls.write({}, {disabled.name: "1"})
        if without_link_local(link):
            self._set({INDEX: index, NO_LINK_LOCAL: None}, None)
        self._quieten(link)
        if disabled.name not in quiet_parameters(link) and before is not None:
            self._sysctls.write({}, {disabled.name: before.value})

    def _changes(self, index: int, link: Link, names: frozenset[str]) -> tuple[Values, str | None]:
        values: Values = {INDEX: index}
        if bits := [both for name, both in _flags(link).items() if name in names]:
            values |= {FLAGS: sum(bit for bit, on in bits if on), CHANGE: sum(dict(bits))}
        for name, field in (("mac", ADDRESS), ("mtu", MTU), ("group", GROUP)):
            if name in names and getattr(link, name) is not None:
                values[field] = getattr(link, name)
        if "master" in names:
            values[MASTER] = self._kernel.index(link.master) if link.master else 0
        return values, link.alias if "alias" in names else None

    def remove(self, link: Link) -> None:
        self.delete(self.owned(link).index)

    def mark(self, index: int, group: int) -> None:
        """Move the link to another link group."""
        self._set({INDEX: index, GROUP: group}, None)

    def mark_all(self, indexes: Iterable[int], group: int) -> None:
        """Move the links to another link group, some of them perhaps if this raises."""
        messages = [
            self._kernel.message(RTM_SETLINK, {INDEX: index, GROUP: group}) for index in indexes
        ]
        for start in range(0, len(messages), MANY):
            self._kernel.send_all(messages[start : start + MANY])

    def delete(self, index: int) -> None:
        self._kernel.ask(RTM_DELLINK, {INDEX: index})

    def delete_group(self, group: int) -> None:
        """Delete every link of the group, all or none (rtnl_group_dellink)."""
        self._kernel.ask(RTM_DELLINK, {GROUP: group})

    def _set(self, values: Values, alias: str | None) -> None:
        try:
            self._send(values, alias)
        except NetlinkError as error:
            # The link has no IPv6 (ipv6.disable, or an MTU below 1280), so it gets no
            # link-local address.
            if error.errno != errno.EAFNOSUPPORT or NO_LINK_LOCAL not in values:
                raise
            self._send(
                {field: values[field] for field in values if field is not NO_LINK_LOCAL}, alias
            )

    def _send(self, values: Values, alias: str | None) -> None:
        message = self._kernel.message(RTM_SETLINK, values)
        if alias is not None:
            # An empty alias is a single NUL: the kernel needs at least one byte.
            append(message, IFLA_IFALIAS, alias.encode() or b"\0")
        self._kernel.send(message)


def _parameters(link: Link) -> tuple[dict[str, str], dict[str, str]]:
    """Return the kernel parameters of the link, and those that only hosts with IPv6 have."""
    return routed_parameters(link) if is_routed(link) else {}, quiet_parameters(link)


def _flags(link: Link) -> dict[str, tuple[int, bool]]:
    """By field, its IFF_ bit and whether that is set."""
    flags = {"up": (IFF_UP, link.up)}
    if isinstance(link, Macvtap):
        flags["all_multicast"] = (IFF_ALLMULTI, link.all_multicast)
    return flags


def _follow_ups(link: Link) -> list[tuple[Values, str | None]]:
    """Return what the creating message cannot contain: fields and alias of later messages."""
    first: Values = {}
    if isinstance(link, Bridge) and link.mtu is not None:
        first[MTU] = link.mtu
    if without_link_local(link):
        first[NO_LINK_LOCAL] = None
    last: Values = {}
    if link.up and comes_up_later(link):
        last = {FLAGS: IFF_UP, CHANGE: IFF_UP}
    if isinstance(link, Macvtap) and link.all_multicast:
        first |= {FLAGS: IFF_ALLMULTI, CHANGE: IFF_ALLMULTI}
    if not first:
        return [(last, link.alias or None)] if last or link.alias else []
    return [(first, link.alias or None), *([(last, None)] if last else [])]
