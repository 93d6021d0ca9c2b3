"""A copy of the part of the registry that concerns one host, kept up to date by a watch."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.contract import Compacted, Entry, Reading, Registry, RegistryWatch


class Mirror:
    """All documents under some prefixes, as of one revision.

    The copy is only ever replaced by a whole reading, or moved on by whole commits: while
    the registry does not answer, it stays as it was.  Methods that talk to the registry
    raise ``Unavailable``.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._prefixes: tuple[str, ...] = ()
        self._entries: dict[str, Entry] = {}
        self._watch: RegistryWatch | None = None
        self.revision = 0
        """The revision of the copy; 0 before the first reading."""

    def follow(self, *prefixes: str) -> bool:
        """Copy the documents under these prefixes; return whether that was a new reading."""
        if prefixes == self._prefixes and self._watch is not None:
            return False
        reading = self._registry.read(*prefixes)
        watch = self._registry.watch(*prefixes, after=reading.revision)
        self.close()
        self._prefixes, self._watch = prefixes, watch
        self._entries, self.revision = dict(reading.entries), reading.revision
        return True

    def refresh(self, timeout: float) -> set[str]:
        """Wait up to ``timeout`` seconds for changes, take them in, and return their keys.

        After a new reading, because changes were lost, all keys are returned.
        """
        assert self._watch is not None
        try:
            changes = self._watch.next(timeout)
        except Compacted:
            self.close()
            before = self._entries.keys()
            self.follow(*self._prefixes)
            return {*before, *self._entries}
        for change in changes:
            if change.entry is None:
                self._entries.pop(change.key, None)
            else:
                self._entries[change.key] = change.entry
            self.revision = max(self.revision, change.revision)
        return {change.key for change in changes}

    def reading(self) -> Reading:
        """The copy as a reading."""
        return Reading(self.revision, self._entries)

    def under(self, prefix: str) -> Iterator[Entry]:
        """The documents whose keys begin with a prefix."""
        return (entry for key, entry in self._entries.items() if key.startswith(prefix))

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def close(self) -> None:
        """End the watch; the copy stays."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
