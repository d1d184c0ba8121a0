"""Choose a program of `tasks` by the first argument, and start it."""
