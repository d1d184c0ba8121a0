"""Word vectors: training by word2vec, and what they know.

`corpus` holds sentences as word ids; `sampling` draws random numbers; `examples` turns a chunk of sentences into
training steps; `reference` defines the model; `engine` is what a backend provides; `loop` trains a run.

`vector_table` holds the vectors of a file, a package or a run, and `vector_cache` opens them. `nearest`, `queries`,
`analogies`, `similarity`, `score_files`, `caseless` and `word_map` tell what they know.
"""
