"""Tests of the fake kernel, its firewall and DHCP, and the fabric between hosts."""
