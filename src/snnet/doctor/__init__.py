"""Looks at a real host: which nodes it has, what differs, and what breaks tenants' networks."""
