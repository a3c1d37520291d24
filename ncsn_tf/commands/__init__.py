"""The commands of `ncsn`: their flags and a `main` each, one file a command.

console             which command it is, its errors as one line, its exit code
ambient             streams, environment and folder that a command finds when it starts
failures            what it says where memory is short or a file is denied
start               starts TensorFlow, with the devices that a command's work wants
condition_options, evaluate_options, quality_options, tuning_options   flags of two commands
measurements        the work of `evaluate`, imported once its flags are read

They import the work after the flags were read. Only the scripts and `__main__` import them.
"""
