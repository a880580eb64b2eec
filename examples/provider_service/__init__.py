"""What GitHub and Libraries.io say of a package, as one answer. README.md says how to run it."""
