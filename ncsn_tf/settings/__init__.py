"""What a run is told. Imports no TensorFlow.

options     dataclass fields that are also flags: types, bounds, checks
config      the settings of a run, from which its flags and the saved JSON are made
experiment  those of them that decide what is trained
published   what was published of the third generation, for settings that nobody gave
rules, third_rules  what settings must fit together
chain       those that change the chain of a trained network
checkpoint  which checkpoint of a run is opened
pretrained  trained networks that come with the package
sweep       values of a chain's setting that are tried one after the other
typed_flags, dataset_flags, help   absl's flags, flagfiles of data sets, --help
flags       command lines

Training, serving, evaluation, toy, generation and commands may import it; the library may not.
"""
