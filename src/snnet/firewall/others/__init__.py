"""Others' rules: whether they stop packets that a node needs.

``stops`` walks chains; ``nft`` and ``saved`` read chains from what nft and iptables print.
"""
