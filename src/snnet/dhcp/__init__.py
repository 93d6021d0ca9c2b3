"""DHCP drivers: they carry :class:`~snnet.contract.DhcpScope`.

``dnsmasq`` is the driver; beside it, each in a file of its own: what is handed
to dnsmasq (``settings``), as whom it runs (``account``), its process
(``server``), and the folder where all of it is kept (``folder``, ``record``).
No DHCP packet is read or written here: that is dnsmasq's work.
"""
