"""Shares breaker and gate state, recent errors and quotas between the processes of a site."""
