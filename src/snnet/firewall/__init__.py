"""Firewall drivers: they carry the rule nouns of :mod:`snnet.contract.rules`.

They share only the contract and never import each other.  A driver gets intents and
decides how to write them.  It uses tables or chains of its own and leaves foreign rules
alone.
"""
