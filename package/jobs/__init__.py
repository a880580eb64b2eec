"""The jobs of the site: they refresh packages, check example pages, and correct addresses of repositories.

A run over packages is in `run`. It uses these modules:

- `due` decides which packages and parts are refreshed;
- `lanes` has a queue for each upstream, and `pauses` determines until when an upstream is paused;
- `claimer` and `claims`: a source of a package is claimed in the database before it is fetched;
- `crash_isolation` decides how to fetch a source if an earlier fetch of it may have killed its process;
- `worker_pool` has the threads, and `fetching` fetches in them;
- `storing`, `source_status` and `fetch_fields` store the results;
- `refresh_schedule` decides when a part is due again;
- `run_retries` decides what is fetched again in the same run, and `unfetched` records what is left for the next run;
- `refresh_summary` has the figures of the run, and `fallback_metric` counts parts whose stored data is used.

`refresh_one` refreshes one package immediately, and `dispatch` queues packages for the Celery workers. The other jobs
are `example_checks` and `repository_cleanup`, each a `sequential_loop`. All runs use `base_summary` and `stopper`.
"""
