"""Stores: small documents that outlive their process.  A store is chosen by name.

``sqlite`` is for real hosts, ``memory`` for tests.  The package that opens a store
(:mod:`snnet.docker`) decides what it keeps there; :class:`snnet.contract.Store` says
what every store promises.
"""
