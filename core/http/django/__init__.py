"""The Django app: settings, checks, views, the command `upstreams`, its staff page, and metrics of batch jobs."""
