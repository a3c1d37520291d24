"""A run as one HTML page.

folder     what is read from the run's folder: settings, curves, sample grids, evaluations
drawings   what is drawn with its network: a chain, neighbours of samples, scores
page       the page of both, `template.html` filled in

Of the package that it is in, it imports `neighbors` and `samples`; commands may import it.
"""
