"""What a run says of its progress: speed, remaining time, the curves of the noise levels."""

import pytest

from ncsn_tf.training.reporter import Reporter, format_time, level_scalars


class Writer:
    """A summary writer that is never asked."""

    def close(self):
        pass


class Totals:
    def __init__(self, *reports):
        self.reports = list(reports)

    def report(self):
        return self.reports.pop(0)


def test_speed_is_that_since_the_last_report(tiny_config, monkeypatch, capsys):
    now = 100.0
    config = tiny_config(num_steps=1000)
    totals = Totals((2.0, 3.0, [1.0, None, 4.0]), (None, None, [None] * 3), (2.0, 3.0, [1.0] * 3))
    reporter = Reporter(config, totals, Writer(), first_step=10, clock=lambda: now)
    written = []
    monkeypatch.setattr(reporter, "write", lambda step, scalars: written.append((step, scalars)))

    now = 104.0
    reporter.report(20)
    scalars = {
        "train/loss": 2.0,
        "train/gradient_norm": 3.0,
        "train/loss_level_1": 1.0,
        "train/loss_level_2": None,
        "train/loss_level_3": 4.0,
        "train/examples_per_second": 2.5 * 8,
    }
    assert written == [(20, scalars)]
    now = 200.0
    reporter.restart_clock(21)
    now = 201.0
    reporter.report(25)
    assert written[1][1]["train/examples_per_second"] == 4 * 8
    now = 204.0
    reporter.report(25)
    assert "train/examples_per_second" not in written[2][1]
    reporter.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 20 of 1000  loss 2.0  2.50 steps/s  6m32s left",
        "step 25 of 1000  loss no finite step  4.00 steps/s  4m04s left",
        "step 25 of 1000  loss 2.0  0.00 steps/s  ? left",
    ]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (754, "12m34s"),
        (3599.7, "1h00m"),
        (5 * 3600 + 6 * 60 + 59, "5h06m"),
        (100 * 3600, "100h00m"),
        (float("inf"), "?"),
    ],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


def test_of_many_noise_levels_groups_are_reported():
    assert level_scalars([3.0, None]) == {"train/loss_level_1": 3.0, "train/loss_level_2": None}
    assert len(level_scalars([1.0] * 20)) == 20
    losses = [float(i) for i in range(1, 233)]
    losses[3] = None
    losses[24:47] = [None] * 23
    scalars = level_scalars(losses)
    assert len(scalars) == 10
    first, second, *_, last = scalars.items()
    assert first == ("train/loss_levels_0001_to_0024", pytest.approx((24 * 25 / 2 - 4) / 23))
    assert second == ("train/loss_levels_0025_to_0048", pytest.approx(48.0))
    assert last == ("train/loss_levels_0210_to_0232", pytest.approx(221.0))
