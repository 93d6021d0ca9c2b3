"""``snnet explain``: what it says of a real host is what happens on the wire."""
