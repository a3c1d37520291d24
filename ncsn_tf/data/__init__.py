"""Images: what is learned from, what is completed, and what is written.

* `source`: a `Source` of images: in memory (`source`, `encoded`) or in a file (`image_file`);
* `sources`: the kinds of data sets by name: `digits`, `robohash_cats`, `folder`, `arrays_source`
  and `tfds_source`, a file each;
* `collection`: the pictures of a folder or an archive, by number; `decoding`: how any is read;
* `prepared`: images that are decoded once, by `preparation`, whose processes are in `rows`, and
  kept in the `cache`, by one process at a time (`claims`);
* `batches`: the batches of a source, in an `order` that is a function of (seed, step);
* `crops`: which part of a picture is kept, for images of another shape;
* `pictures`: pictures that a user names; `masks`: which of their pixels are to be filled;
* `images`: grids, single PNGs and movies that are written.

Knows no settings; training and all above may import it. `crops`, `pictures`, `masks` and `images`
do without TensorFlow, and so do `rows` and what it imports.
"""
