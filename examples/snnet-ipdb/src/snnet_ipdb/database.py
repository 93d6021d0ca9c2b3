"""IPDB, open in one network namespace, and read only when it is up to date.

IPDB is a copy of the kernel's links and addresses that a thread keeps current from
netlink events.  Four of its habits are dealt with here:

- Its sockets, its threads and /dev/net/tun belong to the namespace of the thread that
  opens them.  So one thread moves there for good, and does everything.
- The copy is late: what has just been made it may not have.  So before each look the
  kernel is asked for one message on the events' own socket; when the answer has been
  read, so has every event before it.
- Of a new alias or group the kernel tells nobody while the link is down
  (netdev_state_change, net/core/dev.c).  So links that are looked at are asked for.
- An alias that was taken away stays in the copy, for the kernel then leaves the
  attribute out.  So messages are completed before IPDB reads them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pr2modules.ipdb.main import IPDB
from pr2modules.netlink import NLM_F_ACK, NLM_F_REQUEST, nlmsg
from pr2modules.netlink.exceptions import NetlinkError
from pr2modules.netlink.rtnl import RTM_GETLINK, RTM_SETLINK
from pr2modules.netlink.rtnl.ifinfmsg import ifinfbase, ifinfmsg
from pr2modules.netns import setns

from snnet.contract import Exhausted

T = TypeVar("T")

Listener = Callable[[Any, str], None]
"""Is told every message and its event's name, on IPDB's own thread: must be quick."""

_PATIENCE = 2.0
"""Seconds; an answer takes about a millisecond."""
_LOOPBACK = 1
"""The index of the loopback in every namespace."""


class Database:
    """One thread in a namespace, with an IPDB that it alone uses."""

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._listeners: list[Listener] = []
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._answered = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snnet-ipdb")
        try:
            self._thread.submit(setns, self._netns).result()
            self.ipdb = self._thread.submit(self._open).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns when called in the namespace, one call at a time."""
        if self._pid != os.getpid():
            self._start()  # of the parent's threads none has come along
        return self._thread.submit(function).result()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell the listener of every event from now on; what is returned ends it."""
        self._listeners.append(listener)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def close(self) -> None:
        """End IPDB and the thread; may be repeated."""
        if self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # it is closed
                self._thread.submit(self._release).result()
            self._thread.shutdown()

    # What follows runs on the thread.

    def look(self, function: Callable[[Any], T], name: str | None = None) -> T:
        """What the function makes of IPDB's interfaces, none of which changes meanwhile.

        They are as the kernel has them now: all, or the one called ``name``.
        """
        self._catch_up()
        with self.ipdb.exclusive:
            interfaces = self.ipdb.interfaces
            record = interfaces.get(name) if name is not None else None
            wanted = (record["index"],) if record is not None else ()
            if wanted or name is None:
                # Only an event takes a link out again, so this must not run ahead of it.
                with contextlib.suppress(NetlinkError):
                    for message in self.ipdb.nl.get_links(*wanted):
                        _complete(message)
                        interfaces._new(message)
            return function(interfaces)

    def index(self, name: str) -> int | None:
        """The link's index, or None."""
        self._catch_up()
        record = self.ipdb.interfaces.get(name)
        return None if record is None else int(record["index"])

    def set_alias(self, index: int, alias: str) -> None:
        """Give a link an alias; the empty one takes it away."""
        message = _LinkMessage()
        message["index"] = index
        # An empty one is a single NUL, for the kernel wants one byte at least.
        message["attrs"].append(["IFLA_IFALIAS", alias.encode() or b"\0"])
        self.ipdb.nl.nlm_request(message, msg_type=RTM_SETLINK, msg_flags=NLM_F_REQUEST | NLM_F_ACK)

    def _catch_up(self) -> None:
        """Wait until IPDB knows all that had happened before the call."""
        for _ in range(2):
            self._answered.clear()
            question = ifinfmsg()
            question["index"] = _LOOPBACK
            self.ipdb.mnl.put(question, RTM_GETLINK)
            if self._answered.wait(_PATIENCE):
                return
            # Its thread ends at the first message it cannot make sense of.
            self._release()
            self.ipdb = self._open()
        raise Exhausted("IPDB does not answer any more: close the backend and open it again")

    def _open(self) -> Any:
        with _without_advice():
            ipdb = IPDB(plugins=["interfaces"], deprecation_warning=False)
        ipdb.register_callback(self._arrived, mode="pre")
        ipdb.interfaces  # noqa: B018  this is how it is made to look
        return ipdb

    def _release(self) -> None:
        self.ipdb.release()
        self.ipdb._cthread.join()  # which release() forgets

    def _arrived(self, ipdb: Any, message: Any, event: str) -> None:
        """On IPDB's thread, before it looks at the message itself."""
        if message["header"]["pid"] == ipdb.mnl.epid:
            self._answered.set()  # events carry the number of whoever caused them
        if event == "RTM_NEWLINK":
            _complete(message)
        for listener in tuple(self._listeners):
            listener(message, event)


class _LinkMessage(ifinfbase, nlmsg):  # type: ignore[misc]
    """With an alias of bytes: a text is cut to its number of letters, and a NUL added."""

    nla_map = tuple(
        (name, "cdata" if name == "IFLA_IFALIAS" else kind, *rest)
        for name, kind, *rest in ifinfbase.nla_map
    )


def _complete(message: Any) -> None:
    """Have a link's message say everything: what is left out there is none of."""
    if message["family"] == 0 and message.get_attr("IFLA_IFALIAS") is None:
        message["attrs"].append(["IFLA_IFALIAS", ""])


@contextlib.contextmanager
def _without_advice() -> Any:
    """IPDB logs that it is deprecated whenever it is opened; its users know."""

    def not_the_advice(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Deprecation warning")

    logger = logging.getLogger("pr2modules.ipdb.main")
    logger.addFilter(not_the_advice)
    try:
        yield
    finally:
        logger.removeFilter(not_the_advice)
