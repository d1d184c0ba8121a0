"""The Python interface of seqtwin, whose names `import seqtwin` gives: docs/python-api.md."""
