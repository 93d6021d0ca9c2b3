"""IPDB, open in one network namespace, and read only when it is up to date.

IPDB is a copy of the kernel's links and addresses; a thread updates it from netlink
events.  This module deals with four of its properties:

- Its sockets, its threads and /dev/net/tun belong to the namespace of the thread that
  opens them.  So one thread enters the namespace and does everything.
- The copy lags behind: it may lack what was just created.  So before each look the
  kernel is asked for one message on the socket of the events; when the answer has been
  read, every event before it has been read too.
- The kernel sends no event for a new alias or group while the link is down
  (netdev_state_change, net/core/dev.c).  So the kernel is asked for each link that is read.
- A removed alias stays in the copy, because the kernel then omits the attribute.  So
  messages are completed before IPDB reads them.
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
"""Receives every message and the name of its event, on IPDB's thread; it must be quick."""

_PATIENCE = 2.0
"""Seconds; an answer takes about a millisecond."""
_LOOPBACK = 1
"""The index of the loopback in every namespace."""


class Database:
    """One thread in a namespace, with an IPDB that only this thread uses."""

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
        """Call the function in the namespace and return its result; one call at a time."""
        if self._pid != os.getpid():
            self._start()  # a fork does not copy the parent's threads
        return self._thread.submit(function).result()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener for every event from now on; the returned function ends this."""
        self._listeners.append(listener)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def close(self) -> None:
        """End IPDB and the thread.  May be called again."""
        if self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # it is already closed
                self._thread.submit(self._release).result()
            self._thread.shutdown()

    # The methods below run on the thread.

    def look(self, function: Callable[[Any], T], name: str | None = None) -> T:
        """Return the function's result for IPDB's interfaces, which do not change meanwhile.

        All of them, or the one called ``name``, agree with the kernel at this moment.
        """
        self._catch_up()
        with self.ipdb.exclusive:
            interfaces = self.ipdb.interfaces
            record = interfaces.get(name) if name is not None else None
            wanted = (record["index"],) if record is not None else ()
            if wanted or name is None:
                # Only an event removes a link, so this must not add one ahead of the event.
                with contextlib.suppress(NetlinkError):
                    for message in self.ipdb.nl.get_links(*wanted):
                        _complete(message)
                        interfaces._new(message)
            return function(interfaces)

    def index(self, name: str) -> int | None:
        """Return the link's index, or None."""
        self._catch_up()
        record = self.ipdb.interfaces.get(name)
        return None if record is None else int(record["index"])

    def set_alias(self, index: int, alias: str) -> None:
        """Set the alias of a link; an empty one removes it."""
        message = _LinkMessage()
        message["index"] = index
        # An empty alias is a single NUL: the kernel needs at least one byte.
        message["attrs"].append(["IFLA_IFALIAS", alias.encode() or b"\0"])
        self.ipdb.nl.nlm_request(message, msg_type=RTM_SETLINK, msg_flags=NLM_F_REQUEST | NLM_F_ACK)

    def _catch_up(self) -> None:
        """Wait until IPDB knows everything that happened before the call."""
        for _ in range(2):
            self._answered.clear()
            question = ifinfmsg()
            question["index"] = _LOOPBACK
            self.ipdb.mnl.put(question, RTM_GETLINK)
            if self._answered.wait(_PATIENCE):
                return
            # Its thread ends at the first message that it cannot parse.
            self._release()
            self.ipdb = self._open()
        raise Exhausted("IPDB no longer answers: close the backend and open it again")

    def _open(self) -> Any:
        with _without_advice():
            ipdb = IPDB(plugins=["interfaces"], deprecation_warning=False)
        ipdb.register_callback(self._arrived, mode="pre")
        ipdb.interfaces  # noqa: B018  this makes it read the links
        return ipdb

    def _release(self) -> None:
        self.ipdb.release()
        self.ipdb._cthread.join()  # release() does not do this

    def _arrived(self, ipdb: Any, message: Any, event: str) -> None:
        """Runs on IPDB's thread, before IPDB reads the message."""
        if message["header"]["pid"] == ipdb.mnl.epid:
            self._answered.set()  # an event has the number of the request that caused it
        if event == "RTM_NEWLINK":
            _complete(message)
        for listener in tuple(self._listeners):
            listener(message, event)


class _LinkMessage(ifinfbase, nlmsg):  # type: ignore[misc]
    """A message with the alias as bytes: a string would be cut to its number of characters."""

    nla_map = tuple(
        (name, "cdata" if name == "IFLA_IFALIAS" else kind, *rest)
        for name, kind, *rest in ifinfbase.nla_map
    )


def _complete(message: Any) -> None:
    """Complete a link's message: an omitted attribute means that the link has none."""
    if message["family"] == 0 and message.get_attr("IFLA_IFALIAS") is None:
        message["attrs"].append(["IFLA_IFALIAS", ""])


@contextlib.contextmanager
def _without_advice() -> Any:
    """Suppress the warning that IPDB is deprecated, which it logs whenever it is opened."""

    def not_the_advice(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Deprecation warning")

    logger = logging.getLogger("pr2modules.ipdb.main")
    logger.addFilter(not_the_advice)
    try:
        yield
    finally:
        logger.removeFilter(not_the_advice)
