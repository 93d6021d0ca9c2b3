"""Other hosts that have concentrators of this one by now, while the registry cannot say so."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from snnet.contract import Hearing, IPAddress, SnnetError
from snnet.core.concentrators import Concentrator
from snnet.node import ComputeNode

from .network import NetworkRole

_log = logging.getLogger("snnet.agent")


class Rivals:
    """Hears on the uplink who else announces the addresses of this host's concentrators.

    A host takes a concentrator over by the word of the registry, and announces its address
    (RFC 5227).  An agent that can read the registry learns it there.  One that cannot yields to
    such an announcement, if somebody on the link really answers for the address.
    """

    def __init__(self, node: ComputeNode, network: NetworkRole) -> None:
        self._node, self._network = node, network
        self._addresses: frozenset[IPAddress] = frozenset()
        """Those that the registry last said this host's concentrators have."""
        self._hearing: Hearing | None = None
        self._heard: set[IPAddress] = set()
        """Addresses that somebody announced, and that nobody was asked for yet."""
        self._lost: set[IPAddress] = set()
        """Addresses of concentrators that are still to be removed here."""
        self._problem = ""

    def listen(self, sides: Iterable[Concentrator]) -> None:
        """Listen for the addresses that these concentrators have on the network of the hosts.

        Call it when the registry has been read: what was heard before counts no more.
        """
        # Addresses that the host translates are known to nobody else.
        translated = self._node.site.translates
        addresses = frozenset(side.ip for side in sides if not translated)
        self._heard, self._lost = set(), set()
        if addresses != self._addresses:
            self.close()
            self._addresses = addresses
        self._open()

    def _open(self) -> None:
        """Listen, unless that is done already.  What fails is tried again by the next call."""
        if self._hearing is not None or not self._addresses:
            return
        link = self._node.site.uplink.link_name
        try:
            self._hearing = self._node.backend.hear(link, self._addresses)
        except (SnnetError, OSError) as error:
            self._warn(f"other hosts on {link} are not heard: {error}")
        else:
            self._problem = ""

    def give_way(self, sides: Mapping[str, Concentrator]) -> bool:
        """Remove those concentrators that somebody else has announced, and answers for.

        Return whether there were any.  What cannot be removed is tried again by the next call.
        """
        self._open()
        if self._hearing is not None:
            self._heard |= self._hearing.heard()
        self._lost |= self._answered()
        going = [side for side in sides.values() if side.ip in self._lost]
        for side in going:
            _log.warning("another host has the concentrator of %s: it is removed", side.tenant_id)
            try:
                # What cannot be shut down stays in a namespace without a name.  That is the lesser
                # harm: as long as the address is here, two hosts answer for it.
                self._network.stop(sides, keep=sides.keys() - {side.tenant_id})
                self._node.remove_concentrator(*side.id)
            except SnnetError as error:
                _log.warning("the concentrator of %s is not removed yet: %s", side.id[0], error)
        self._lost &= {side.ip for side in self._node.topology().concentrators}
        return bool(going)

    def _answered(self) -> set[IPAddress]:
        """Those of the heard addresses that somebody else on the link answers for."""
        if not self._heard:
            return set()
        uplink = self._node.site.uplink
        try:
            found = self._node.backend.answering(uplink.link_name, self._heard, uplink.ip)
        except (SnnetError, OSError) as error:
            self._warn(f"nobody can be asked for {', '.join(map(str, self._heard))}: {error}")
            return set()
        self._heard = set()
        return found

    def _warn(self, problem: str) -> None:
        """Say once what is tried again and again."""
        if problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem

    def close(self) -> None:
        """Stop listening.  May be repeated."""
        if self._hearing is not None:
            self._hearing.close()
        self._hearing, self._addresses = None, frozenset()
