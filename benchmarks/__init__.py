"""How fast snnet is, as ratios and rates measured in one run: ``make bench``."""
