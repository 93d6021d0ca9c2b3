"""Registries: what is wanted, as documents that several processes share.

``sqlite`` is for one host, ``etcd`` for many, ``memory`` for tests and simulations.  A
registry is chosen by the name at the start of its URL (:func:`snnet.open_registry`).
:class:`snnet.contract.Registry` says what every registry promises; the callers
decide what they keep in it.
"""
