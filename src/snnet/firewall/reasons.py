"""Why rules of snnet drop packets, as people read it."""

ADDRESS = "its address or MAC is not one of the guest's"
DHCP = "DHCP as only servers send it, or for another client"
DISCOVERY = "neighbour discovery for another, or as a router"
HOST = "to the host itself"
SERVICE = "to a service that the concentrator does not offer"
TUNNEL = "into a tunnel, and not from its other end"
