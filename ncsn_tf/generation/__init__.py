"""The work of `ncsn sample`: images from an origin, written to files.

* `checkpoint_origin`: images from a run's checkpoint; those of an export and of a server are in
  `serving`
* `conditions`: conditional sampling from a checkpoint; `known_pictures`: what it completes
* `writing`: what an origin of images is; grids, single PNGs, arrays and movies
* `shards`: many images by several processes, and their merger; `block_files`: their files
* `arrays`: images as arrays, for a notebook
* `playing`: images that are drawn while somebody watches; `turns`: one such drawing at a time

Imports training and what is below it; commands import it. `writing`, `shards`,
`block_files`, `playing` and `turns` do without TensorFlow.
"""

from ncsn_tf.generation.writing import check_places, write_samples

__all__ = ["check_places", "write_samples"]
