"""Answers the questions of operators: a snapshot of this host, as documents of the registry."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from snnet.cluster import keys
from snnet.contract import Document, Entry, Host, Put, Registry, Session, SnnetError

ANSWER_TTL = 60.0
"""Seconds after which an answer is gone, if the agent does not remove it before."""

_log = logging.getLogger("snnet.agent")


class Answering:
    """The questions that one agent has answered.

    An answer is there as long as its question, and at most ``ANSWER_TTL`` seconds.  While
    nobody asks, nothing is read and nothing is written.
    """

    def __init__(self, registry: Registry, node: str, host: Host) -> None:
        self._registry = registry
        self._node, self._host = node, host
        self._answered: dict[str, Session | None] = {}

    def follow(self, questions: Iterable[Entry]) -> None:
        """Answer the questions that are new and about this node; withdraw what nobody asks.

        All that are new get the same snapshot.  What cannot be answered is logged: the one who
        asks sees that there is no answer.
        """
        asked = {entry.key: entry.document for entry in questions}
        for key in [key for key in self._answered if key not in asked]:
            self._withdraw(key)
        new = [key for key in asked if key not in self._answered and self._is_meant(asked[key])]
        if not new:
            return
        began = time.monotonic()
        parts = self._parts()
        for key in new:
            self._answered[key] = None  # what fails is not tried again and again
            try:
                self._answer(key, parts, began)
            except SnnetError as error:
                _log.warning("a question for a snapshot is not answered: %s", error)

    def _is_meant(self, question: Mapping[str, object]) -> bool:
        nodes = question.get("nodes")
        return isinstance(nodes, list) and self._node in nodes

    def _parts(self) -> list[Document]:
        # Only who is asked pays for the imports.
        from snnet.explain.packing import pack
        from snnet.explain.reading import take_of

        try:
            return list(pack(take_of(self._host, self._node)))
        except Exception as error:  # whatever it is, the agent has other work
            if not isinstance(error, (SnnetError, OSError)):
                _log.exception("no snapshot of this host")
            return [{"part": 0, "of": 1, "error": f"its agent cannot read it: {error}"}]

    def _answer(self, key: str, parts: Iterable[Document], began: float) -> None:
        question = key.rstrip("/").rpartition("/")[2]
        session = self._registry.session(ANSWER_TTL)
        self._answered[key] = session
        for number, part in enumerate(parts):
            waited = round(time.monotonic() - began, 3)
            document = {**part, "waited": waited}
            where = keys.answer(self._node, question, number)
            self._registry.commit([Put(where, document, session.id)])

    def _withdraw(self, key: str) -> None:
        session = self._answered.pop(key)
        if session is not None:
            with suppress(SnnetError):  # then it runs out by itself
                session.close()

    def close(self) -> None:
        """Withdraw all answers."""
        for key in tuple(self._answered):
            self._withdraw(key)
