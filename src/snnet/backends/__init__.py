"""Backends: drivers that carry links, addresses, routes and neighbours.

One package each; they share nothing but the contract and never import each
other.
"""
