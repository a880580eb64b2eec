"""The sources of data about packages: requests to their servers, and the reading of their responses.

- `registry` lists the parts of a package, each with its `server`;
- `client` sends the requests, with `sessions` and `credentials`, and only to addresses that `links` allows;
- `results` has the results of a fetch, `errors` its errors, and `error_answers` turns error responses into errors;
- `fields` reads and checks the values in JSON;
- `pypi` (with `pypi_fields`, `project_names` and `python_versions`) and `pypistats` are two sources. The others are the
  hosts of repositories: see `package.repos`.
"""
