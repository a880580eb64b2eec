"""The sources of data about packages: requests to their servers, and the reading of their responses.

- `package_parts` lists the parts of a package, each with its `api_server`;
- `client` sends the requests, with `sessions` and `auth`, and only to addresses that `api_urls` allows;
- `fetch_results` has the results of a fetch, `errors` its errors, and `error_answers` turns error
  responses into errors;
- `fields` reads and checks the values in JSON;
- `pypi` (with `pypi_fields`, `pypi_names` and `requires_python`) and `pypistats` are two sources. The others are the
  hosts of repositories: see `package.repos`.
"""
