"""Word vectors: training by word2vec, and what they know.

`corpus` holds sentences as word ids; `sampling` draws random numbers; `examples` turns a chunk of sentences into
training steps; `reference` defines the model; `engine` is what a backend provides.
"""
