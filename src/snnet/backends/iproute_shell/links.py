"""Creating, changing, removing and reading links."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import replace

from snnet.backends.iproute2.commands import commands, with_free_index
from snnet.backends.linux import MACVTAP_TRIES, check_change, check_same
from snnet.backends.settings import may_follow_bridge, of_bridges_down
from snnet.contract import Add, Change, Link, Macvtap, Missing, Remove, Tap, Unsupported, Veth
from snnet.contract.links import is_link_name
from snnet.system.named import exists

from .checks import NO_QUEUES, check_new_link, check_values
from .errors import Refused
from .found import link_noun
from .shell import Shell

_LIST = ["ip", "-json", "-details", "link", "show"]


class Links:
    """The links of one network namespace.

    The commands of a plan use names, so they are run with names: ``ip`` looks the index
    up and uses that.  One or two milliseconds pass between a look at a link and the next
    command; only a program that replaces the link in this time is not noticed.  Undoing
    half a creation, which no plan shows, uses the index.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    # Reading

    def snapshot(self) -> list[Link]:
        return of_bridges_down([link_noun(row) for row in self._shell.rows(_LIST)])

    def find(self, noun: Link) -> Link | None:
        name = noun.name
        if not is_link_name(name):
            return None
        try:
            rows = self._shell.rows([*_LIST, "dev", name])
        except Refused as error:
            if error.number != errno.ENODEV:
                raise
            return None
        # An alternative name (ip-link(8), property) finds a link with another name.
        links = (link_noun(row) for row in rows if row["ifname"] == name)
        found = next(links, None)
        if found is not None and may_follow_bridge(found) and found.master:
            return of_bridges_down([found, self.look_up(found.master)])[0]
        return found

    def look_up(self, name: str) -> Link:
        """Return the link of this name; ``Refused`` with ENODEV if there is none."""
        link = self.find(Link(name=name))
        if link is None:
            raise Refused(errno.ENODEV, f"there is no link {name}")
        return link

    def owned(self, link: Link) -> Link:
        """Return the link that the noun describes, as it is now.

        Raises ``Missing`` if a different link has the name now: one of another kind,
        or without the alias and the group of the noun.
        """
        found = self.look_up(link.name)
        check_same(link, found)
        return found

    # Creating

    def add(self, link: Link) -> None:
        """Create the link completely or not at all.

        A tap is persistent as soon as ``ip tuntap`` has created it; the next line of the
        same process sets group, alias and the rest.  A process killed between these two
        system calls leaves a tap without alias and group.  It looks like a foreign tap
        and keeps its name in use until an administrator removes it.
        """
        check_new_link(link)
        if isinstance(link, Veth) and link.peer_namespace and not exists(link.peer_namespace):
            raise Missing(f"there is no namespace {link.peer_namespace}", errno=errno.ENOENT)
        if isinstance(link, Tap) and link.queues > 1:
            taken = self.find(link) is not None
            raise Refused(errno.EEXIST) if taken else Unsupported(f"{link.name}: {NO_QUEUES}")
        try:
            self._add_at_some_index(link)
        except Refused:
            # If several things are wrong, this is the error to report.
            for name in (link.master, link.lower if isinstance(link, Macvtap) else None):
                if name is not None:
                    self.look_up(name)
            raise

    def _add_at_some_index(self, link: Link) -> None:
        if not isinstance(link, Macvtap) or link.index:
            self._add(link)
            return
        for left in reversed(range(MACVTAP_TRIES)):
            try:
                self._add(with_free_index(link))
            except Refused as error:
                # EBUSY: the index is in use; EEXIST: it is, or the name, or tapN in sysfs.
                perhaps = error.position == 0 and error.number in (errno.EBUSY, errno.EEXIST)
                if not perhaps or not left or self.find(link) is not None:
                    raise
            else:
                return

    def _add(self, link: Link) -> None:
        todo = commands(Add(link))
        births = self._shell.together(todo[:2]) if isinstance(link, Tap) else 1
        try:
            self._shell.carry_out(todo[:births])
        except Refused as error:
            # The second of two lines failed: the tap exists, but is incomplete.
            if error.position != 0:
                self._undo(link)
            raise
        except BaseException:
            self._undo(link, sure=False)  # the program was killed
            raise
        try:
            self._shell.carry_out(todo[births:])
        except BaseException as error:
            self._undo(link)
            if isinstance(error, Refused):
                error.position = None  # trying another index would not help
            raise

    def _undo(self, link: Link, *, sure: bool = True) -> None:
        """Delete the link of a creation that failed half-way, if it exists.

        If it is not ``sure`` that the creation created anything, only a link that cannot
        be foreign is deleted.
        """
        with contextlib.suppress(Exception):
            found = self.find(link)
            if found is not None and (_is_half if sure else _is_half_born)(found, link):
                self._shell.carry_out([["ip", "link", "delete", "dev", self._by_index(found)]])

    def _by_index(self, found: Link) -> str:
        """Return a name by which ``ip`` finds this link, even if another has its name now."""
        word = f"if{found.index}"
        return word if self.find(Link(name=word)) is None else found.name

    # Changing and removing

    def change(self, new: Link, old: Link) -> None:
        """Set what differs in one message; undo it if the kernel applied only a part."""
        before = self.owned(old)
        check_change(new, old)
        check_values(new)
        differences = new.differences(before) & new.changeable
        if not differences:
            return
        try:
            self._shell.carry_out(commands(Change(new, before)))
        except BaseException:
            back = replace(new, **{name: getattr(before, name) for name in differences})
            with contextlib.suppress(Exception):
                mtu = self.look_up(old.name).mtu  # new, or as before
                self._shell.carry_out(commands(Change(back, replace(new, mtu=mtu))))
            raise

    def remove(self, link: Link) -> None:
        self.owned(link)
        self._shell.carry_out(commands(Remove(link)))


def _is_half(found: Link, link: Link) -> bool:
    """Whether the link found looks like one that is being created."""
    is_tap = isinstance(link, Tap)
    return (
        found.kind == link.kind
        and found.alias in ("", link.alias)
        and (found.group == link.group or (is_tap and found.group == 0))
        and (is_tap or link.mac in (None, found.mac))
    )


def _is_half_born(found: Link, link: Link) -> bool:
    """Whether the link found is half created, and did not exist before."""
    marked = link.group != 0 and found.group == link.group
    return _is_half(found, link) and marked and not found.alias
