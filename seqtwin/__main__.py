"""Start the command: `python -m seqtwin`."""

from seqtwin.command.main import start

if __name__ == "__main__":
    raise SystemExit(start())
