"""What everything stands on: TensorFlow itself, and the names that can be chosen.

* `compat`, `compat_optimizers`: what differs between package sets
* `random`: counter-based random numbers
* `devices`: devices and the strategy over them
* `tiles`: the parts in which a batch is computed
* `quiet`: TensorFlow's lines on stderr, held back
* `signals`: an end that was asked for, by Ctrl-C, SIGTERM or SIGHUP; without TensorFlow
* `reactions`, `watcher`: what a signal means to the code that runs, and the thread that sees to it
* `pace`: how much work one call of TensorFlow takes
* `choices`: names and limits that settings and library both keep to; without TensorFlow
* `sizes`: height and width of images, as settings and library both take them; without TensorFlow

Imports `errors` alone; everything may import it, settings only `choices` and `sizes`.
"""
