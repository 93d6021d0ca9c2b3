"""DHCP drivers: they carry :class:`~snnet.contract.DhcpScope`.

``dnsmasq`` is the driver.  Each of its parts has a file of its own: the command line
and files that dnsmasq reads (``settings``), the user that it runs as (``account``), its
process (``server``), and the folder with everything about a scope (``folder``,
``record``).  This package reads and writes no DHCP packets: dnsmasq does.
"""
