"""Word vectors: tables of them, nearest words, analogies and similarity."""
