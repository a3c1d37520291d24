"""Figures of quality that choose: a checkpoint as a run trains or afterwards, settings of a chain.

    metric    the figure that training computes every so many steps
    bench     draws and measures networks with one feature network and reference
    record    the file of figures, from which a ranking or a sweep is continued
    ranking   which of a run's checkpoints is the best
    sweep     which value of a chain's setting is the best
    run       both, of a run that is named
    table     figures as a table with bars, and as a plot

Imports quality, features, training and everything below them; commands import it.
"""
