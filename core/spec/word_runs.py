"""Marks of a word2vec run folder, by which other programs know it."""

WORDS_FORMAT = 1
"""Format version of word2vec run folders."""

WORDS_KIND = "word vectors"
"""The `kind` in `experiment.json` of a word2vec run; other runs have none."""
WORDS_ONLY = (
    "a run of tasks.word2vec, which has word vectors and no classifier: use tasks.words, or train with"
    " `model.embedding.vectors` set to it"
)
"""Why other programs do not open such a run."""
VECTORS = "vectors.txt"
"""The result of a word2vec run, in word2vec's text format."""
