"""What a figure of quality may be called: names that cannot mislead."""

# Of each metric: what it is called with the 2015 network, and with another.
_NAMES = {
    "fid": ("FID", "FD"),
    "kid": ("KID", "KD"),
    "is": ("IS", "CS"),  # the score of a classifier
}
OF_PROBABILITIES = ("is", "accuracy")  # of a classifier: compared with no images
FULL = 50_000  # samples of the figures that are quoted without a number


def figure_name(
    metric: str,
    num_samples: int,
    *,
    network: str = "",
    is_inception: bool = False,
    against: str = "",
) -> str:
    """The name of a figure.

    "FID", "KID" and "IS" alone are those of the Inception network of 2015, of 50,000 samples and
    against all of the training set; every other figure says what is different: the network, the
    number of samples, or what it was compared with. "FD" and "KD" are Frechet and kernel distances,
    "CS" the classifier's score, with other networks. Precision and recall always name the network:
    the paper's is another one again. So does accuracy: it is that of one classifier's verdicts.

    Args:
        metric: "fid", "kid", "is", "precision", "recall", "accuracy" or "copies".
        num_samples: that went into it.
        network: name of the feature network.
        is_inception: whether that is the 2015 graph.
        against: what it was compared with; "" is all of the training set. Of "accuracy" which
            classes the images are of; "" is all.

    Example:
        >>> figure_name("fid", 50_000, is_inception=True), figure_name("fid", 5_000,
        ...     is_inception=True)
        ('FID', 'FID-5k')
        >>> figure_name("fid", 10_000, network="EfficientNetLite0")
        'FD-EfficientNetLite0-10k'
        >>> figure_name("kid", 1_234, network="Train-digits", against="test")
        'KD-Train-digits-1234-test'
        >>> figure_name("accuracy", 500, network="Train-digits", against="of-3")
        'Accuracy-Train-digits-500-of-3'
    """
    number = short_number(num_samples)
    if metric == "is":
        against = ""  # it compares with nothing
    if metric in _NAMES:
        standard, other = _NAMES[metric]
        parts = [standard] if is_inception else [other, network]
        is_quoted = is_inception and num_samples == FULL and not against
        parts += [] if is_quoted else [number]
    elif metric == "copies":
        parts = ["Copies", number]
    else:
        parts = [metric.capitalize(), network, number]
    return "-".join(filter(None, [*parts, against]))


def short_number(number: int) -> str:
    """A number of images: thousands as "k".

    Example:
        >>> short_number(50_000), short_number(1_500), short_number(250)
        ('50k', '1500', '250')
    """
    return f"{number // 1000}k" if number >= 1000 and number % 1000 == 0 else str(number)
