"""Pictures of what is there: hosts, tenants' networks on them, VNICs, and the tunnels between.

``picture`` says what a picture shows; ``found`` and ``registered`` take one of this host's
kernel and of a registry.  ``layout`` and ``wires`` decide where everything goes, as plain
boxes, and ``svg`` writes them down.  Nothing here changes anything.
"""
