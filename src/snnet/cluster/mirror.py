"""A copy of a part of the registry, kept up to date by a watch."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.contract import Compacted, Entry, Reading, Registry, RegistryWatch


class Mirror:
    """All documents under some prefixes, as of one revision; ``news`` is about one of them.

    The copy is only ever replaced by a whole reading, or moved on by whole commits (``follow``
    says what is excepted): while the registry does not answer, it stays as it was.  Methods
    that talk to the registry raise ``Unavailable``.
    """

    def __init__(self, registry: Registry, aside: str = "") -> None:
        self._registry = registry
        self._aside = aside
        self._news: bool = True
        self._prefixes: tuple[str, ...] = ()
        self._apart: tuple[str, ...] = ()
        self._entries: dict[str, Entry] = {}
        self._reading: Reading | None = None
        self._watch: RegistryWatch | None = None
        self.revision = 0
        """The latest revision in the copy; 0 before the first reading."""

    def follow(
        self, *prefixes: str, apart: tuple[str, ...] = (), once: tuple[str, ...] = ()
    ) -> Reading | None:
        """Copy the documents under these prefixes; return the new reading, if that took one.

        What is under the prefixes ``apart`` is copied too, and may be some commits ahead of
        the rest, or behind it.  What is under ``once`` is in the reading alone.
        """
        if (prefixes, apart) == (self._prefixes, self._apart) and self._watch is not None:
            return None
        reading = self._registry.read(*prefixes, *apart, *once)
        groups = [prefixes, *((prefix,) for prefix in apart)]
        watch = self._registry.watch_groups(groups, after=reading.revision)
        self.close()
        self._prefixes, self._apart, self._watch = prefixes, apart, watch
        copied, found = (*prefixes, *apart), reading.entries.items()
        self._entries = {key: entry for key, entry in found if key.startswith(copied)}
        self.revision = reading.revision
        self._news, self._reading = True, None
        return reading

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
            self.follow(*self._prefixes, apart=self._apart)
            return {*before, *self._entries}
        if changes:
            self._reading = None
        for change in changes:
            if change.entry is None:
                self._entries.pop(change.key, None)
            else:
                self._entries[change.key] = change.entry
            self.revision = max(self.revision, change.revision)
            self._news |= change.key.startswith(self._aside)
        return {change.key for change in changes}

    def news(self) -> bool:
        """Return whether documents under ``aside`` changed since the last call."""
        found, self._news = self._news, False
        return found

    def reading(self) -> Reading:
        """The copy as a reading, which later changes do not touch."""
        if self._reading is None:
            self._reading = Reading(self.revision, dict(sorted(self._entries.items())))
        return self._reading

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
