"""What this kernel can create, found out without creating anything."""

from __future__ import annotations

import errno
from collections.abc import Callable

from snnet.backends.kinds import NO_REDIRECTS, NO_SHAPERS, no_kind
from snnet.backends.linux import no_tun
from snnet.contract import Link, Noun, Redirect, Shaper, Tap
from snnet.system.netlink import NetlinkError

from .codec import kind_field
from .creation import IFNAME
from .encoder import U32, Field
from .kernel import CREATE, EXCLUSIVE, RTM_NEWLINK, Kernel
from .shaping import can_redirect, can_shape

_QUEUES = Field("IFLA_NUM_TX_QUEUES", U32)
_TOO_MANY_QUEUES = 1 << 16


class Support:
    """Which kinds of link the kernel has, and which traffic control.

    What it has is remembered.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._there: set[str] = set()

    def missing(self, noun: Noun) -> str | None:
        """Return why a noun of this class and kind cannot be created, or None if it can."""
        if isinstance(noun, Shaper):
            return self._traffic("shapers", can_shape, NO_SHAPERS)
        if isinstance(noun, Redirect):
            return self._traffic("redirects", can_redirect, NO_REDIRECTS)
        if not isinstance(noun, Link):
            return None
        if noun.unmakeable:
            return noun.unmakeable
        if noun.kind in self._there:
            return None
        reason = no_tun() if isinstance(noun, Tap) else self._no_kind(noun)
        if reason is None:
            self._there.add(noun.kind)
        return reason

    def _traffic(self, name: str, can: Callable[[], bool], reason: str) -> str | None:
        if name not in self._there:
            if not can():
                return reason
            self._there.add(name)
        return None

    def _no_kind(self, link: Link) -> str | None:
        """Request a link with more queues than allowed; return why the kind is missing.

        The kernel looks up the kind first, loading its module if it can, and creates
        nothing (rtnl_newlink and rtnl_create_link, net/core/rtnetlink.c).
        """
        values = {
            IFNAME: "snnet-probe",
            _QUEUES: _TOO_MANY_QUEUES,
            kind_field(link.kind): None,
        }
        try:
            self._kernel.ask(RTM_NEWLINK, values, CREATE | EXCLUSIVE)
        except NetlinkError as error:
            if error.errno != errno.EOPNOTSUPP:
                return None
        return no_kind(link)
