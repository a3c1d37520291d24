"""What a trained network is worth.

    bits        bits per dimension of images
    measure     those and the test loss of a run
    lengths     test loss of averages of several lengths
    record      the file of likelihoods, from which a measurement is continued
    nearest     the nearest of many vectors
    neighbors   the training images nearest to samples
    samples     the samples that are looked at: drawn now, or from a file
    report/     a page on a run
    features/   the networks whose features figures of quality compare
    quality/    figures of quality of samples: FID and the like
    tuning/     figures that choose a checkpoint, or settings of a chain
    metrics/    Frechet and kernel distance, Inception Score, precision and recall, of arrays

Imports training and everything below it, not generation, serving or toy; commands may import
it.
"""
