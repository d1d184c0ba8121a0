"""Everything of seqtwin that needs no framework. Rooms, from the ground up; each imports only those above it here:

- `errors`, `files`, `strings`, `rng`, `schema`, `batch`: the ground
- `models`: what a model is and computes: per family its spec, its parameter rows and its NumPy reference
- `spec`: what an experiment is: model, text, training and data, as JSON
- `data`: from files to batches; `data/sources` has a file for each kind of data
- `weights`: weights from and to other people's files
- `engine`: what a backend must do, and where it runs: devices, processes, the NumPy engine
- `train`: the training loop, its metrics, the run folder; preparing and summing up a run
- `parity`: what "the same" means, rung by rung, and the faults that it must catch
- `analysis`: what a trained model does: occlusion, gates, gradient flow
- `benchmark`: sizes, timings, the profile of a step
- `plots`, `report`: PNG figures, HTML pages

`tests/test_architecture.py` checks this, and that nothing here imports a framework.
"""
