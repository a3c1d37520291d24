"""What a command says of a machine that could not do it: too little memory, a file that is denied.

Anywhere in the work either can happen, so that it is told apart in one place, where a command ends.
"""

from collections.abc import Callable, Sequence

from ncsn_tf.errors import UserError, is_of_memory, original

# The flags that decide how much memory a command takes, those that matter most first.
LOWER = {
    "train": ("batch_size", "training_tile", "features", "image_size", "sampling_tile"),
    "sample": ("batch_size", "num_samples", "sampling_tile"),
    "app": (),
    "evaluate": ("batch_size", "num_images", "num_probes", "pairs"),
    "merge": (),
    "export": ("max_steps_each", "sampling_tile"),
    "schedule": ("num_images", "image_size"),
    "report": (),
    "neighbors": ("num_samples", "num_neighbors"),
    "classifier": ("batch_size", "features"),
    "import": (),
    "toy": ("num_samples",),
    "info": (),
}


def explanation(error: Exception, command: str) -> str | None:
    """The line about an error that is the machine's, or a UserError within TensorFlow's.

    It is None for any other.

    Args:
        error: what ended the command.
        command: its name.

    Example:
        >>> explanation(MemoryError(), "evaluate")
        'not enough memory: lower --batch_size, --num_images, --num_probes or --pairs'
        >>> explanation(PermissionError(13, "Permission denied", "a.png"), "sample")
        'a.png: Permission denied'
        >>> explanation(ValueError("a mistake of the program"), "sample") is None
        True
    """
    error = original(error)
    if isinstance(error, UserError):
        return str(error)
    if is_of_memory(error):
        flags = [f"--{name}" for name in LOWER.get(command, ())]
        listed = " or ".join([", ".join(flags[:-1]), flags[-1]][len(flags) == 1 :]) if flags else ""
        recompute = ", or give --recompute" if command == "train" else ""
        return f"not enough memory: lower {listed}{recompute}" if flags else "not enough memory"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        name = error.filename
        return f"{name if isinstance(name, str) else repr(name)}: {error.strerror}"
    return None


def command_of(main: Callable, argv: Sequence[str]) -> str:
    """The name of the command that `main(argv)` runs.

    Example:
        >>> from ncsn_tf.commands import export
        >>> command_of(export.main, ["export.py"])
        'export'
    """
    module = main.__module__.rpartition(".")[2]
    name = argv[1] if module == "console" and len(argv) > 1 else module
    return {"import_reference": "import"}.get(name, name)
