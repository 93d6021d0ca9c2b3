"""Foreign changes of a host: each is named and healed, or docs/drift.md says why not."""
