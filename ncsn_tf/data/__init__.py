"""Images: what is learned from, what is completed, and what is written.

* `source`: a `Source` of images in memory, made of arrays;
* `sources`: the kinds of data sets by name: `digits`, `folder` and `tfds_source`, a file each;
* `batches`: the batches of a source, in an order that is a function of (seed, step);
* `pictures`: pictures that a user names; `masks`: which of their pixels are to be filled;
* `images`: grids, single PNGs and movies that are written.

Knows no settings; training and all above may import it. `pictures`, `masks` and `images` do without
TensorFlow.
"""
