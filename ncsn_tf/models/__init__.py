"""Score networks, and the classifier that guides them.

* `functional`: the operations as pure functions
* `layers`: convolution and instance normalisation++
* `blocks`, `refinement`: the blocks on the way down and back up
* `networks`: NCSN and NCSNv2
* `group_norm`, `resampling`, `embeddings`, `attention`, `resnet_blocks`: the third generation's
  layers
* `unet_steps`: what its networks do, as a table
* `ncsnpp`, `ddpm`: NCSN++ and DDPM++, and DDPM
* `noisy_classifier`: the classifier of noisy images
* `reference_weights`, `reference_places`: the weights of the reference programs
* `reference_unet`: what the third generation's weights show of its settings

Imports `backend` alone, neither data nor samplers; what trains, samples and serves imports it.
"""
