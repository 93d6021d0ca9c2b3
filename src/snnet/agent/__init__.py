"""The resident process of a host: follows a registry, drives the host's nodes, repairs drift."""
