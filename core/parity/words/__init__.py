"""Parity check of word2vec: rungs 0 to 5, against a drawing by definition and the NumPy reference."""
