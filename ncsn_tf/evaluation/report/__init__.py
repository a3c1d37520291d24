"""A run as one HTML page.

folder     what is read from the run's folder: settings, curves, sample grids, evaluations
drawings   what is drawn with its network: a chain, neighbours of samples, scores
quality    its figures of quality, from metrics.jsonl
page       the page of them, `template.html` filled in

Of the package that it is in, it imports `neighbors`, `quality` and `samples`; commands may import
it.
"""
