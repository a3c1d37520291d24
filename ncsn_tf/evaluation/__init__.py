"""What a trained network is worth.

    measure     bits per dimension and test loss of a run
    record      the file of likelihoods, from which a measurement is continued
    neighbors   the training images nearest to samples
    samples     the samples that are looked at: drawn now, or from a file
    report/     a page on a run
    metrics/    Frechet and kernel distance, Inception Score, precision and recall, of arrays

Imports training and everything below it, not serving or toy; generation and commands may import
it.
"""
