"""Breaker and gate state exchanged with the other processes of a site, and what was last seen of each upstream."""
