"""The Django app: settings, checks, views, the command `upstreams`, a staff page, and metrics of batch jobs."""
