"""Files and paths, for every part of the program.

* `paths`: paths that users name, and whether a file can be written there
* `writing`: files that appear whole or not at all
* `arrays`: arrays in .npz and .npy files
* `processes`: whether the process that wrote something still runs
* `lock`: one process at a time does something

Imports only `errors`; everything else may import it, and takes the names from here.
"""

from ncsn_tf.files.arrays import (
    MAX_ARRAY_BYTES,
    array_headers,
    digest,
    is_array,
    map_array,
    read_arrays,
    save_arrays,
)
from ncsn_tf.files.lock import hold
from ncsn_tf.files.paths import (
    broken_path,
    check_place,
    plain_folder,
    require_ending,
    require_folder,
    shipped,
    user_path,
)
from ncsn_tf.files.processes import is_abandoned, is_running, machine
from ncsn_tf.files.writing import (
    remove_leftovers,
    sync,
    sync_tree,
    write_atomically,
)

__all__ = [
    "MAX_ARRAY_BYTES",
    "array_headers",
    "broken_path",
    "check_place",
    "digest",
    "hold",
    "is_abandoned",
    "machine",
    "is_array",
    "is_running",
    "map_array",
    "plain_folder",
    "read_arrays",
    "remove_leftovers",
    "require_ending",
    "require_folder",
    "save_arrays",
    "shipped",
    "sync",
    "sync_tree",
    "user_path",
    "write_atomically",
]
