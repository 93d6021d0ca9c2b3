"""The rules that a concentrator's caller asks for."""

from __future__ import annotations

from snnet.contract import ExternalForward, Masquerade, PortForward, PublicIp

Rule = Masquerade | ExternalForward | PortForward | PublicIp
"""A rule that a concentrator's caller asks for."""
