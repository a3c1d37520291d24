"""The rules of the house, checked by the syntax trees of its files.

Who may import whom is checked by `lint-imports`, whose contracts stand in pyproject.toml.
"""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ncsn_tf"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted({path.relative_to(PACKAGE).parts[0] for path in MODULES} - {"__main__.py"})

# Read before TensorFlow is imported: settings, commands, and the client of a server.
WITHOUT_TENSORFLOW = [
    "backend/choices.py",
    "backend/sizes.py",
    "errors.py",
    "files",
    *("settings", "commands"),
    *(f"serving/{name}.py" for name in ("__init__", "client", "contract", "request")),
    *("serving/transport.py", "serving/transport_grpc.py", "serving/transport_rest.py"),
]
# Where commands import the work: after the flags were read.
MAINS = ("main", "start_tensorflow", "start_for_training", "start_for_sampling", "start_worker")
# Packages that are heavy, or that not everyone has: imported where they are used.
OPTIONAL = {
    "joblib",
    "matplotlib",
    "sklearn",
    "tensorboard",
    "tensorflow_addons",
    "tensorflow_datasets",
    "tensorflow_serving",
    "torch",
}
# Other imports within functions: {(file, what): why}.
ALLOWED = {
    (
        "backend/cluster.py",
        "tensorflow.python.distribute.cluster_resolver",
    ): "reads SLURM's variables, where there are any",
    ("data/sources.py", "ncsn_tf.data"): "TFDS, which takes seconds, for its own data sets",
    ("serving/transport_grpc.py", "grpc"): "with TensorFlow's messages, once they are known here",
    ("serving/transport_grpc.py", "tensorflow"): "the messages; it takes seconds",
    ("serving/transport_grpc.py", "tensorflow.core.framework"): "as above",
}


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def files_of(room):
    return [path for path in MODULES if name_of(path).split("/")[0] == room]


def functions(node):
    """Every function of a tree, those within functions too."""
    return [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def imported(node):
    """The names of modules that the import statements within a node name."""
    names = []
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "imports are written in full"
            names.append(statement.module)
    return names


def at_the_top(path):
    """The statements of a file that run when it is imported; functions do not."""
    pending = list(tree_of(path).body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            pending += statement.orelse
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [child for child in ast.iter_child_nodes(statement)]


def parameters(function):
    arguments = function.args
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic]


def test_a_reader_takes_in_the_package_at_a_glance():
    rooms = [entry.name for entry in PACKAGE.iterdir() if entry.name != "__pycache__"]
    assert len(rooms) <= 23, sorted(rooms)


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_are_no_circles():
    """Of modules, by imports at the top of files and within functions."""
    modules = {module_of(path): path for path in MODULES}
    graph = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in (*at_the_top(path), *functions(tree_of(path))):
            for statement in ast.walk(node):
                if isinstance(statement, ast.Import):
                    graph[name] |= {alias.name for alias in statement.names}
                elif isinstance(statement, ast.ImportFrom):
                    base, aliases = statement.module, statement.names
                    whole = {f"{base}.{alias.name}" for alias in aliases} & modules.keys()
                    graph[name] |= whole | ({base} if len(whole) < len(aliases) else set())
        graph[name] &= modules.keys()
    assert len(graph["ncsn_tf.commands.train"]) > 3  # the graph is not empty
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle


@pytest.mark.parametrize("room", ROOMS)
def test_imports_stand_at_the_top(room):
    """But for commands, which import the work after the flags were read, and optional packages."""
    found = {}
    for path in files_of(room):
        for function in functions(tree_of(path)):
            of_commands = room == "commands" and function.name in MAINS
            for name in [] if of_commands else imported(function):
                if name.split(".")[0] not in OPTIONAL:
                    found[name_of(path), name] = function.name
    assert found.keys() <= ALLOWED.keys(), {key: found[key] for key in found.keys() - ALLOWED}


def test_exceptions_are_needed():
    for file, name in ALLOWED:
        found = [imported(function) for function in functions(tree_of(PACKAGE / file))]
        assert any(name in names for names in found), (file, name)


@pytest.mark.parametrize("place", WITHOUT_TENSORFLOW)
def test_no_tensorflow_before_it_is_needed(place):
    """In the places themselves; test_console.py looks at what they import."""
    target = PACKAGE / place
    for path in [target] if target.is_file() else sorted(target.rglob("*.py")):
        tops = {name.split(".")[0] for node in at_the_top(path) for name in imported(node)}
        assert not tops & {"tensorflow", "keras", *OPTIONAL}, path


@pytest.mark.parametrize("room", sorted({*ROOMS} - {"settings", "commands"}))
def test_work_takes_keywords_and_no_bag_of_options(room):
    for path in files_of(room):
        for function in functions(tree_of(path)):
            names = [argument.arg for argument in parameters(function)]
            assert "options" not in names, f"{name_of(path)}: {function.name}"


def public_functions(body):
    """Functions of a module, and methods of its classes, whose names do not begin with _."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            yield node


@pytest.mark.parametrize("room", ROOMS)
def test_everything_public_is_annotated(room):
    missing = []
    for path in files_of(room):
        for function in public_functions(tree_of(path).body):
            arguments = [a for a in parameters(function) if a.arg not in ("self", "cls")]
            bare = [argument.arg for argument in arguments if argument.annotation is None]
            if bare or function.returns is None:
                missing.append(f"{name_of(path)}: {function.name}({', '.join(bare)})")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("room", ROOMS)
def test_files_say_what_they_are(room):
    """A package's docstring says what lives in it, and who may import it."""
    for path in files_of(room):
        about = ast.get_docstring(tree_of(path))
        assert about, name_of(path)
        if path.name == "__init__.py" and path.parent != PACKAGE:
            assert "import" in about, name_of(path)
