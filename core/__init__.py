"""The framework-independent layer of seqtwin.

A package imports only packages listed above it:

- `errors`, `files`, `checked_json`, `zip_directory`, `strings`, `rng`, `schema`, `batch`, `child_process`: foundations
- `models`: spec, parameter table and NumPy reference of every model family
- `spec`: the specification of an experiment (model, text, training, data), stored as JSON
- `data`: loading, tokenizing, splitting and batching; `data/sources` has one file per kind of data
- `weights`: import and export of weight files written by other programs, and the arrays of checkpoints
- `engine`: the interface of a backend, devices, process groups, the NumPy engine
- `train`: training loop, metrics, run folder, preparation and results of a run
- `words`: word vectors: training by word2vec, nearest words, analogies, similarity
- `parity`: the definition of numerical parity, level by level, and the faults that its checks must detect
- `analysis`: inspection of trained models: occlusion, gates, gradient flow
- `benchmark`: sizes, timings, step profiles
- `plots`, `report`: PNG figures, HTML pages

`tests/test_architecture.py` enforces the import order and that `core` imports no framework.
"""
