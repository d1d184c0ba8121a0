"""The linear model of n-grams: table of n-grams, log-count ratios, solver, and its inputs to a network."""
