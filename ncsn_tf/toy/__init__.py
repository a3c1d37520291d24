"""The toy experiments, two modes in the plane: why score-based sampling needs noise.

* `densities`: distributions whose score is known
* `mixture`: the density of the experiments, and the experiments
* `figures`: their pictures
* `experiment`: all of them, with their numbers

Imports `training` and what is below it; commands import it.
"""
