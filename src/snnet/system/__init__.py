"""The machine underneath: namespaces, runtime directory, netlink socket, processes.

Everything here speaks to the operating system and knows no noun.  ``netns``
opens and enters network namespaces, ``files`` keeps locks and small files
safe, ``host`` is the :class:`~snnet.contract.Host` of real drivers, ``netlink``
carries bytes to and from the kernel, ``process`` runs programs.
"""
