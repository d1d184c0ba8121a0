"""Comparison of two models that a user wrote, one in PaddlePaddle and one in PyTorch.

kinds        neutral names and settings of layers
recording    what one model is and computed: modules, parameters, calls of layers, gradients, training steps
contract     what the side of a framework does: describe, write, run, repeat, train
inputs       inputs drawn for both models from a short description
arrays       difference of two arrays, up to a permutation of axes
sizes        differences of all arrays of a call
placing      rung 0: which parameter of one model is which of the other
similar      names of parameters and modules that mean the same
splitting    fused projections of q, k and v as three parameters
values       values that a user converted: transposed, gates in another order, different
parameters   the finding of rung 0
alignment    which call of a layer in one model is which in the other
forward      rung 1: the first layer whose outputs differ, inside a layer or between two
causes       settings that differ, and whether equal ones repair the layer
settings     settings that differ, in words
guesses      what the code between two layers computes, with `functions` on recorded arrays
dropouts     dropout calls that differ, and `buffers`: running statistics after a step
backward     rung 2: gradients, from the loss back to the first that differs
steps        rung 3: training steps with each framework's own optimizer
rounding     whether a float32 difference is rounding
verdict      all findings of a comparison, and the sentence that names the first one
compare      the whole comparison of two sides
file         recordings as files
recorded     a model of a file in the place of a living one

The code of the sides is in `backends/*/twin`; `backends.twin.compare` compares two models in one process.
"""
