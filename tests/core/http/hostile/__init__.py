"""What servers do, each against a real local server that does it, and what becomes of the calls."""
