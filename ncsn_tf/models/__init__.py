"""Score networks, and the classifier that guides them.

* `functional`, `instance_norm`: the operations as pure functions
* `layers`, `instance_norm_layers`: convolution; instance normalisation++
* `blocks`, `refinement`: the blocks on the way down and back up
* `refinenet`, `networks`: the RefineNet of the first two generations; NCSN and NCSNv2
* `group_norm`, `resampling`, `embeddings`, `attention`, `resnet_blocks`: the third generation's
  layers
* `unet_steps`, `unet`: what its networks do, as a table; the U-Net that does it
* `ncsnpp`, `ddpm`: NCSN++ and DDPM++, and DDPM
* `noisy_classifier`: the classifier of noisy images
* `reference_weights`, `reference_places`: the weights of the reference programs
* `reference_unet`: what the third generation's weights show of its settings

Imports `backend` alone, neither data nor samplers; what trains, samples and serves imports it.
"""
