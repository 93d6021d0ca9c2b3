"""The calls of nodes: a file for each kind.

A call checks its request at construction and says, in the steps of
:class:`snnet.node.call.Call`, what it claims, drafts and publishes.  Nothing here
carries out a plan: :mod:`snnet.node.engine` does.
"""
