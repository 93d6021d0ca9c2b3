"""Firewall drivers: they carry the rule nouns of :mod:`snnet.contract.rules`.

They share nothing but the contract and never import each other.  A driver
gets intents and decides how they are written; it keeps to a table or chains of
its own and leaves foreign rules alone.
"""
