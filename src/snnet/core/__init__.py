"""The pure part of the engine: functions from requests and records to plans.

Nothing here uses sockets, files, processes, clocks, random numbers or globals;
:mod:`snnet.node` does.  Start reading at :mod:`snnet.core.planner`.
"""
