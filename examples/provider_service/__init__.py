"""A service that returns data about a package from GitHub and Libraries.io. README.md says how to run it."""
