"""Pictures of what is there: hosts, tenants' networks on them, VNICs, and the tunnels between.

``picture`` says what a picture shows; ``found`` takes one of this host's kernel, ``registered`` of
a registry's documents, and ``live`` of what all hosts answered.  ``layout`` and ``wires``
decide where everything goes, as plain boxes, and ``svg`` writes them down.  Nothing here changes
anything.
"""
