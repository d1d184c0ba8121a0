"""Provide the command-line programs: they choose data, spec and backend and call `core`."""
