"""The engine's thinking: pure functions from requests and state to plans.

No sockets, files, processes, clocks, dice or globals live here; :mod:`snnet.node`
has those.  Start reading at :mod:`snnet.core.planner`.
"""
