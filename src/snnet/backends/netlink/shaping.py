"""Queueing disciplines and filters of traffic control (rtnetlink(7), RTM_NEWQDISC; tc(8))."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from struct import Struct
from typing import Any

from snnet.contract import Redirect, Shaper
from snnet.contract.shaping import FILTER_PRIORITY, QDISC_HANDLE, RATE_MAX
from snnet.system.netlink import NetlinkError
from snnet.system.netns import new_netns

from .encoder import TEXT, U32, Field, append
from .kernel import (
    CREATE,
    ECHO,
    EXCLUSIVE,
    REPLACE,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETQDISC,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    Kernel,
    attributes,
    number,
    text,
)

# struct tcmsg, linux/rtnetlink.h: family, index, handle, parent, info
_TCMSG = Struct("=B3xiIII")
_BODY = 16
_ATTRIBUTES = _BODY + _TCMSG.size
_TCA_KIND, _TCA_OPTIONS = 1, 2
_ATTRIBUTE = Struct("=HH")

_INDEX = Field("index", U32)
_HANDLE = Field("handle", value=QDISC_HANDLE << 16)
_ROOT_PARENT = 0xFFFFFFFF  # TC_H_ROOT, linux/pkt_sched.h
_ROOT = Field("parent", value=_ROOT_PARENT)
_OURS = (QDISC_HANDLE << 16, _ROOT_PARENT)
"""Handle and parent of a discipline of snnet."""
_CLSACT_PARENT = 0xFFFFFFF1  # TC_H_CLSACT
_CLSACT = Field("parent", value=_CLSACT_PARENT)
_CLSACT_HANDLE = Field("handle", value=0xFFFF0000)
_INGRESS, _EGRESS = (Field("parent", value=0xFFFFFFF0 | n) for n in (2, 3))  # TC_H_MIN_*GRESS
_PREFERENCE = Field("info", value=FILTER_PRIORITY << 16 | socket.htons(3))  # ETH_P_ALL
_KINDS = {kind: Field("TCA_KIND", TEXT, kind) for kind in ("tbf", "clsact", "u32")}

# linux/pkt_sched.h: struct tc_ratespec, then struct tc_tbf_qopt with two of them
_RATE = Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate
_RATE64 = Struct("=Q")
_TBF = Struct("=12s12sIII")  # rate, peak rate, limit, buffer, mtu
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET
_U32_MAX = 2**32 - 1

# linux/pkt_cls.h: struct tc_u32_sel with one key that matches everything
_SELECTOR = Struct("=BBBxHHhhIIIii")
_TERMINAL = 1  # TC_U32_TERMINAL
_U32_SEL, _U32_ACT = 5, 7
_ACT_KIND, _ACT_OPTIONS = 1, 2
# linux/tc_act/tc_mirred.h: index, capab, action, refcnt, bindcnt, eaction, ifindex
_MIRRED = Struct("=IIiiiiI")
_MIRRED_PARMS = 2
_STOLEN, _REDIRECT = 4, 1  # TC_ACT_STOLEN, TCA_EGRESS_REDIR

Values = dict[Field, Any]


class Disciplines:
    """Shapers and redirects, which one listing of disciplines shows."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.shapers = Shapers(kernel, self)
        self.redirects = Redirects(kernel, self)

    def snapshot(self) -> list[Shaper | Redirect]:
        name_of = self._kernel.names()
        found: list[Shaper | Redirect | None] = []
        for message in _listed(self._kernel, RTM_GETQDISC, {}):
            _, index, handle, parent, _ = _TCMSG.unpack_from(message, _BODY)
            ours = (handle, parent) == _OURS
            if (ours or parent == _CLSACT_PARENT) and (link := name_of(index)) is not None:
                found.append(_shaper(message, link) if ours else self.redirects.found(index, link))
        return [noun for noun in found if noun is not None]


class Shapers:
    """The token bucket filters of snnet at the roots of links."""

    def __init__(self, kernel: Kernel, lister: Disciplines) -> None:
        self._kernel = kernel
        self.lister = lister

    def add(self, noun: Shaper) -> None:
        if self.find(noun) is not None:
            raise NetlinkError(errno.EEXIST)
        self._set(noun, CREATE | REPLACE)

    def change(self, new: Shaper, old: Shaper) -> None:
        self._must_exist(old)
        self._set(new, REPLACE)

    def remove(self, noun: Shaper) -> None:
        self._must_exist(noun)
        index = self._kernel.index(noun.link)
        self._kernel.ask(RTM_DELQDISC, {_INDEX: index, _HANDLE: None, _ROOT: None})

    def find(self, noun: Shaper) -> Shaper | None:
        values = {_INDEX: self._kernel.index(noun.link), _ROOT: None}
        try:
            # Before Linux 6.8 the kernel answers as if something had changed: to all who
            # listen, and to the one who asks only as an echo.
            answers = self._kernel.ask(RTM_GETQDISC, values, ECHO)
        except NetlinkError as error:
            # EINVAL: one that the kernel hides, as that of a link that was never up.
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
                return None
            raise
        found = (_shaper(message, noun.link) for message in answers)
        return next((one for one in found if one is not None), None)

    def _set(self, noun: Shaper, flags: int) -> None:
        values = {_INDEX: self._kernel.index(noun.link), _HANDLE: None, _ROOT: None}
        message = self._kernel.message(RTM_NEWQDISC, values | {_KINDS["tbf"]: None}, flags)
        self._kernel.send(append(message, _TCA_OPTIONS, tbf(noun)))

    def _must_exist(self, noun: Shaper) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ENOENT)


class Redirects:
    """The filters of snnet that hand what a link receives to another one.

    The classifier is u32 with a key that matches everything: every kernel with classifiers has
    it.  They hang on clsact, which others may use too: it goes with its last filter.  Where others
    have put ingress, which takes the same place, they hang on that, and it stays.
    """

    def __init__(self, kernel: Kernel, lister: Disciplines) -> None:
        self._kernel = kernel
        self.lister = lister

    def add(self, noun: Redirect) -> None:
        if self.find(noun) is not None:
            raise NetlinkError(errno.EEXIST)
        if not noun.to:
            return
        link, to = self._kernel.index(noun.link), self._kernel.index(noun.to)
        new = True
        try:
            self._kernel.ask(RTM_NEWQDISC, _clsact(link), CREATE | EXCLUSIVE)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            new = False
        try:
            message = self._kernel.message(
                RTM_NEWTFILTER, _filter(link) | {_KINDS["u32"]: None}, CREATE | EXCLUSIVE
            )
            self._kernel.send(append(message, _TCA_OPTIONS, redirecting(to)))
        except BaseException:
            if new:
                with contextlib.suppress(OSError):
                    self._tidy(link)
            raise

    def remove(self, noun: Redirect) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ENOENT)
        link = self._kernel.index(noun.link)
        self._kernel.ask(RTM_DELTFILTER, _filter(link))
        self._tidy(link)

    def find(self, noun: Redirect) -> Redirect | None:
        return self.found(self._kernel.index(noun.link), noun.link)

    def found(self, index: int, link: str) -> Redirect | None:
        for message in _listed(self._kernel, RTM_GETTFILTER, {_INDEX: index, _INGRESS: None}):
            _, _, _, _, info = _TCMSG.unpack_from(message, _BODY)
            options = attributes(attributes(message, _ATTRIBUTES).get(_TCA_OPTIONS, b""))
            if info >> 16 == FILTER_PRIORITY and _U32_ACT in options:
                return Redirect(link=link, to=self._target(options[_U32_ACT]))
        return None

    def _target(self, actions: bytes) -> str:
        """The name of the link that the first action redirects to, or ""."""
        action = attributes(attributes(actions).get(1, b""))
        if text(action.get(_ACT_KIND, b"")) != "mirred":
            return ""
        parms = attributes(action.get(_ACT_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
        if len(parms) < _MIRRED.size:
            return ""
        *_, what, index = _MIRRED.unpack_from(parms)
        if what != _REDIRECT or not index:
            return ""
        try:
            return self._kernel.name(index)
        except NetlinkError:
            return ""

    def _tidy(self, link: int) -> None:
        """Remove the clsact of a link if no filter is left on it."""
        for side in (_INGRESS, _EGRESS):
            if self._kernel.dump(RTM_GETTFILTER, {_INDEX: link, side: None}):
                return
        try:
            self._kernel.ask(RTM_DELQDISC, _clsact(link))
        except NetlinkError as error:
            # It is of another kind, or gone (tc_get_qdisc, net/sched/sch_api.c).
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise


def _listed(kernel: Kernel, kind: int, values: Values) -> list[bytes]:
    """Return what a table has; nothing on a kernel without such (CONFIG_NET_SCHED, NET_CLS)."""
    try:
        return kernel.dump(kind, values)
    except NetlinkError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


def can_shape() -> bool:
    """Whether the kernel has token bucket filters: one is made in a new namespace."""
    return _works(lambda kernel: Disciplines(kernel).shapers.add(Shaper(link="lo", rate=10**6)))


def can_redirect() -> bool:
    """Whether the kernel has what redirects need: one is made in a new namespace."""
    return _works(lambda kernel: Disciplines(kernel).redirects.add(Redirect(link="lo", to="lo")))


def _works(attempt: Any) -> bool:
    """Whether the kernel carries out an attempt; True where one may not try."""
    try:
        netns = new_netns()
    except OSError:
        return True
    try:
        kernel = Kernel(netns)
        try:
            attempt(kernel)
        except NetlinkError as error:
            # ENOENT: no such kind (qdisc_create, tcf_proto_lookup_ops, tcf_action_load_ops).
            return error.errno not in (errno.ENOENT, errno.EOPNOTSUPP)
        finally:
            kernel.close()
    finally:
        os.close(netns)
    return True


def tbf(noun: Shaper) -> bytes:
    """Return the options of a token bucket filter (sch_tbf.c): TCA_TBF_*.

    Without a table of times (RTAB) the kernel computes them, for a known link layer.
    """
    rate = noun.rate // 8
    if not 8 <= noun.rate <= RATE_MAX:
        raise NetlinkError(errno.EINVAL, f"{noun.rate} bits a second is no rate")
    spec = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _U32_MAX))
    parms = _TBF.pack(spec, b"", noun.limit, 0, 0)
    options = _attribute(_TBF_PARMS, parms) + _attribute(_TBF_BURST, U32.pack(noun.burst))
    if rate > _U32_MAX:
        options += _attribute(_TBF_RATE64, _RATE64.pack(rate))
    return options


def redirecting(to: int) -> bytes:
    """Return the options of a u32 filter that redirects everything to a link, by ifindex."""
    selector = _SELECTOR.pack(_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    parms = _attribute(_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT, to))
    action = _attribute(_ACT_KIND, b"mirred\0") + _attribute(_ACT_OPTIONS, parms)
    return _attribute(_U32_SEL, selector) + _attribute(_U32_ACT, _attribute(1, action))


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _clsact(link: int) -> Values:
    return {_INDEX: link, _CLSACT_HANDLE: None, _CLSACT: None, _KINDS["clsact"]: None}


def _filter(link: int) -> Values:
    return {_INDEX: link, _INGRESS: None, _PREFERENCE: None}


def _shaper(message: bytes, link: str) -> Shaper | None:
    _, _, handle, parent, _ = _TCMSG.unpack_from(message, _BODY)
    found = attributes(message, _ATTRIBUTES)
    if (handle, parent) != _OURS or text(found.get(_TCA_KIND, b"")) != "tbf":
        return None
    options = attributes(found.get(_TCA_OPTIONS, b""))
    if len(parms := options.get(_TBF_PARMS, b"")) < _TBF.size:
        return None
    rate = _RATE.unpack(_TBF.unpack_from(parms)[0])[5]
    if _TBF_RATE64 in options:
        rate = number(options[_TBF_RATE64])
    return Shaper(link=link, rate=8 * rate)
