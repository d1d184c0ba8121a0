"""The programs that people run. They choose data, a spec and a backend, and leave the work to core."""
