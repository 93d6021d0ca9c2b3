"""The operating system: namespaces, runtime directory, netlink sockets, processes.

Modules here call the system and know no noun.  ``netns`` opens and enters network
namespaces; ``files`` handles locks and small files; ``host`` is the
:class:`~snnet.contract.Host` of real drivers; ``netlink`` exchanges bytes with the
kernel; ``process`` runs programs.
"""
