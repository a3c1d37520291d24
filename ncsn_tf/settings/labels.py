"""Which classes images are drawn of, and how strongly."""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.options import show

EACH = "each"
_MOST_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes of images, by their seeds: the image of seed s is of class

        classes[floor((s - first) / run) mod K],    K = len(classes)

    so that all classes are drawn equally often, and an image's does not depend on how many others
    are drawn.

    Attributes:
        classes: the numbers of the classes, at least one.
        class_names: of all classes of the network.
        guidance: weight of the class, see `sampling.labelled`.
        first: the seed at which the classes begin.
        run: so many images one after the other are of the same class.

    Example:
        >>> labels = Labels((2, 0), ("cat", "dog", "owl"))
        >>> labels.of([0, 1, 2, 7]).tolist(), labels.names
        ([2, 0, 2, 0], ['owl', 'cat'])
    """

    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    guidance: float = 1.0
    first: int = 0
    run: int = 1

    def of(self, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """The classes of the images of these seeds: int32 [N]."""
        # Python integers: the difference of two int64 may not fit one.
        places = [(int(seed) - self.first) // self.run % len(self.classes) for seed in seeds]
        return np.array([self.classes[place] for place in places], np.int32)

    def groups(self, seeds: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """For each class that is drawn, in its order, the places of its images among the seeds.

        Example:
            >>> [places.tolist() for places in Labels((1, 0), ("cat", "dog")).groups([0, 1, 2])]
            [[0, 2], [1]]
        """
        drawn = self.of(seeds)
        places = [np.flatnonzero(drawn == label) for label in dict.fromkeys(self.classes)]
        return [group for group in places if len(group)]

    @property
    def some(self) -> tuple[int, ...]:
        """The classes that are drawn, in the order of their numbers; () where that is all.

        Example:
            >>> Labels((2, 0), ("cat", "dog", "owl")).some, Labels((1, 0), ("cat", "dog")).some
            ((0, 2), ())
        """
        drawn = sorted(set(self.classes))
        return () if len(drawn) == len(self.class_names) else tuple(drawn)

    @property
    def are_each(self) -> bool:
        """Whether they are all classes in turn, in the order of their numbers.

        Example:
            >>> Labels((0, 1), ("cat", "dog")).are_each, Labels((1, 0), ("cat", "dog")).are_each
            (True, False)
        """
        return self.classes == tuple(range(len(self.class_names)))

    @property
    def names(self) -> list[str]:
        """The names of the classes that are drawn."""
        return [self.class_names[label] for label in self.classes]

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one of an image without a class."""
        return 1 if self.guidance in (0.0, 1.0) else 2

    def rows(self, seeds: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """The arguments of `Sampler.draw` for the images of these seeds.

        Example:
            >>> Labels((1,), ("cat", "dog"), 2.0).rows([5])
            {'labels': array([1], dtype=int32), 'guidance': 2.0}
        """
        return {"labels": self.of(seeds), "guidance": self.guidance}

    def about(self) -> dict[str, object]:
        """What decides the images, as JSON can hold it; `from_about` reads it."""
        values = dataclasses.asdict(self)
        lists = {name: list(values[name]) for name in ("classes", "class_names")}
        return {"labels": {**values, **lists}}

    def __str__(self):
        names, more = self.names[:_MOST_LISTED], len(self.names) - _MOST_LISTED
        listed = ", ".join(names) + (f" and {more} others" if more > 0 else "")
        kind = "class" if len(self.classes) == 1 else "classes"
        return f"{kind} {listed}, guidance {self.guidance:g}"


def from_about(about: Mapping[str, Any]) -> Labels | None:
    """The `Labels` of what `Labels.about` wrote; None where images have no class.

    Raises:
        ValueError: it is nothing that `Labels.about` writes.

    Example:
        >>> labels = Labels((1,), ("cat", "dog"), 2.0)
        >>> from_about(labels.about()) == labels, from_about({}) is None
        (True, True)
    """
    if "labels" not in about:
        return None
    try:
        values = dict(about["labels"])
        lists = {name: tuple(values[name]) for name in ("classes", "class_names")}
        labels = Labels(**{**values, **lists})
        labels.of([0]), labels.names  # noqa: B018 (each class is one, and has a name)
    except (TypeError, KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"no labels: {error}") from None
    return labels


def choose_labels(
    label: str | int | Sequence[str | int] | None,
    guidance: float,
    class_names: Sequence[str],
    whose: str = "this network",
) -> Labels | None:
    """The classes that --label names.

    Args:
        label: a name or a number, several of them with commas between, or "each"; or a sequence
            of names and numbers. A name goes before a number. None is no class.
        guidance: see `Labels`.
        class_names: of the network; none where it knows no classes.
        whose: what to call it in messages.

    Raises:
        ConfigError: a network without classes, or a class that it does not have; one line.

    Example:
        >>> choose_labels("dog,0", 1.0, ["cat", "dog"]).classes
        (1, 0)
        >>> choose_labels("owl", 1.0, ["cat", "dog"], "it")
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --label=owl is no class of it, which has 2: 0 cat, 1 dog
    """
    if label is None:
        return None
    if not class_names:
        raise ConfigError(
            f"{show('label', _shown(label))} needs a network that was trained with "
            f"--class_conditional: {whose} knows no classes"
        )
    class_names = tuple(class_names)
    if label == EACH and EACH not in class_names:
        return Labels(tuple(range(len(class_names))), class_names, guidance)
    if isinstance(label, str) and label not in class_names:
        label = label.split(",")
    wanted = [label] if isinstance(label, str | int | np.integer) else list(label)
    classes = [_number(name, class_names, whose) for name in wanted]
    if not classes:
        raise ConfigError("--label= must name a class")
    return Labels(tuple(classes), class_names, guidance)


def evaluations_of(labels: Labels | None, evaluations: Any) -> Any:
    """Evaluations of the network, from how often a chain asks for the score: numbers or arrays.

    Example:
        >>> evaluations_of(None, 10), evaluations_of(Labels((0,), ("cat",), 1.5), 10)
        (10, 20)
    """
    return evaluations if labels is None else labels.evaluations * evaluations


def labelled_settings(settings: Mapping[str, Any], labels: Labels | None) -> dict[str, Any]:
    """The settings of a chain, `run_sampler.chain_settings`, with the classes that it draws.

    Example:
        >>> labelled_settings({"evaluations": 10}, Labels((0, 1), ("cat", "dog"), 2.0))
        {'evaluations': 20, 'labels': 'cat,dog', 'guidance': 2.0}
    """
    settings = dict(settings)
    if labels is None:
        return settings
    if "evaluations" in settings:
        settings["evaluations"] = evaluations_of(labels, settings["evaluations"])
    return {**settings, "labels": ",".join(labels.names), "guidance": labels.guidance}


def label_arrays(labels: Labels | None, seeds: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """What an .npz says of the classes of images; {} where they have none.

    Example:
        >>> arrays = label_arrays(Labels((1, 0), ("cat", "dog")), [0, 1])
        >>> arrays["labels"].tolist(), arrays["class_names"].tolist()
        ([1, 0], ['cat', 'dog'])
    """
    if labels is None:
        return {}
    return {"labels": labels.of(seeds), "class_names": np.array(labels.class_names)}


def say_labels(
    labels: Labels | None, class_names: Sequence[str], classifier: object = None
) -> None:
    """Print which classes are drawn; nothing of a network that knows none.

    Args:
        labels: those that were chosen.
        class_names: of the network.
        classifier: what chooses the class instead, if anything.
    """
    if labels is not None:
        print(f"Drawing {labels}")
    elif class_names and not classifier:
        print(f"Drawing without a class: --label names one of {len(class_names)}, or {EACH}")


def each_class(class_names: Sequence[str], guidance: float = 1.0) -> Labels | None:
    """All classes in turn, for figures of a whole network; None where it knows no classes."""
    return choose_labels(EACH, guidance, class_names) if class_names else None


def _number(name, class_names, whose):
    """The number of a class, by its name or number."""
    if name in class_names:
        return class_names.index(name)
    text = str(name).strip()
    if text in class_names:
        return class_names.index(text)
    if re.fullmatch("[0-9]{1,9}", text) and int(text) < len(class_names):
        return int(text)
    near = difflib.get_close_matches(text, class_names, n=1)
    hint = f"; do you mean {near[0]}?" if near else ""
    listed = [f"{number} {known}" for number, known in enumerate(class_names[:_MOST_LISTED])]
    if len(class_names) > _MOST_LISTED:
        listed.append(f"... {len(class_names) - 1} {class_names[-1]}")
    raise ConfigError(
        f"{show('label', text)} is no class of {whose}, which has {len(class_names)}: "
        f"{', '.join(listed)}{hint}"
    )


def _shown(label):
    return label if isinstance(label, str | int) else ",".join(map(str, label))
