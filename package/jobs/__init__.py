"""The jobs of the site: they refresh packages, check example pages, and correct addresses of repositories.

A run over packages is in `run`. It uses these modules:

- `due` decides which packages and parts are refreshed;
- `lanes` has a queue for each upstream, and `pauses` determines until when an upstream is paused;
- `claiming`, `claims` and `deaths`: a source of a package is claimed in the database before it is fetched;
- `workers` has the threads, and `fetching` fetches in them;
- `storing`, `ledger` and `fetch_fields` store the results;
- `fetch_again` decides what is fetched again in the same run, and `leftovers` records what is left for the next run;
- `summary` has the figures of the run.

`refresh_one` refreshes one package immediately, and `dispatch` queues packages for the Celery workers. The other jobs
are `example_checks` and `repository_cleanup`. All runs use `run_base` and `stopper`.
"""
