"""The framework-neutral half of seqtwin: what a model is, what it computes, and how it is trained.

Nothing in this package imports a deep-learning framework; `tests/test_architecture.py` holds it to that.
"""
