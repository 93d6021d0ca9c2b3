"""Stores: where services keep what must outlive them, chosen by name.

``sqlite`` on a real host, ``memory`` for tests.  What is stored, and why, is the
business of whoever opens one (:mod:`snnet.docker`); the promises are those of
:class:`snnet.contract.Store`.
"""
