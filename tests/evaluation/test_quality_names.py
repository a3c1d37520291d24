"""What figures of quality are called."""

import pytest

from ncsn_tf.evaluation.quality.names import figure_name, short_number

INCEPTION = {"network": "Inception2015", "is_inception": True}
LITE = {"network": "EfficientNetLite0"}
DIGITS = {"network": "Train-digits"}


@pytest.mark.parametrize(
    "metric, number, about, name",
    [
        ("fid", 50_000, INCEPTION, "FID"),
        ("kid", 50_000, INCEPTION, "KID"),
        ("is", 50_000, INCEPTION, "IS"),
        ("fid", 5_000, INCEPTION, "FID-5k"),
        ("kid", 10_000, INCEPTION, "KID-10k"),
        ("is", 5_000, INCEPTION, "IS-5k"),
        ("fid", 49_999, INCEPTION, "FID-49999"),
        ("fid", 51_000, INCEPTION, "FID-51k"),
        ("fid", 50_000, {**INCEPTION, "against": "test"}, "FID-50k-test"),
        ("fid", 50_000, {**INCEPTION, "against": "train-5k"}, "FID-50k-train-5k"),
        ("is", 50_000, {**INCEPTION, "against": "test"}, "IS"),  # it compares with nothing
        ("fid", 10_000, LITE, "FD-EfficientNetLite0-10k"),
        ("fid", 50_000, LITE, "FD-EfficientNetLite0-50k"),
        ("kid", 1_000, DIGITS, "KD-Train-digits-1k"),
        ("is", 500, DIGITS, "CS-Train-digits-500"),
        ("precision", 10_000, INCEPTION, "Precision-Inception2015-10k"),
        ("recall", 50_000, INCEPTION, "Recall-Inception2015-50k"),
        ("recall", 250, {**DIGITS, "against": "test"}, "Recall-Train-digits-250-test"),
        ("copies", 1_000, {}, "Copies-1k"),
    ],
)
def test_names(metric, number, about, name):
    assert figure_name(metric, number, **about) == name


def test_fid_alone_is_nothing_but_fid():
    """Of every change to what the field quotes, the name tells."""
    quoted = figure_name("fid", 50_000, **INCEPTION)
    changed = [
        figure_name("fid", number, **{**about, "against": against})
        for number in (50_000, 5_000)
        for about in (INCEPTION, LITE)
        for against in ("", "test")
    ]
    assert changed.pop(0) == quoted == "FID"
    assert len({quoted, *changed}) == 8 and all(name.split("-")[1:] for name in changed)


def test_short_numbers():
    assert [short_number(n) for n in (999, 1_000, 1_001, 50_000)] == ["999", "1k", "1001", "50k"]
