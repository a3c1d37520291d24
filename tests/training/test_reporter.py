"""What a run says of its progress: speed, remaining time, the curves of the noise levels."""

import os
import re

import pytest
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.training.reporter import Reporter, format_time, level_scalars, open_writer


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
        (47 * 3600, "47h00m"),
        (101 * 3600, "4d05h"),
        (float("inf"), "?"),
    ],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize("on_cpu", [False, True])
@pytest.mark.parametrize("seconds_a_step, left", [(6.25, "14d11h"), (0.5, "27h46m")])
def test_the_time_left_is_said_in_the_first_minute(
    seconds_a_step, left, on_cpu, tiny_config, capsys
):
    """Once, whatever --log_every; compilation is left out; weeks on a CPU are worth a hint."""
    now = 0.0
    config = tiny_config(num_steps=200_000)
    reporter = Reporter(config, Totals(), Writer(), 0, on_cpu, lambda: now)
    now = 50.0
    reporter.restart_clock(1)
    reporter.advance()
    for _ in range(100):
        now += seconds_a_step
        if capsys.readouterr().err:
            pytest.fail("before there was anything to tell from")
        reporter.advance()
        if now >= 70.0:
            break
    line = capsys.readouterr().err
    assert line.startswith(f"about {left} left at {seconds_a_step:.2g} s a step")
    assert ("long for a CPU" in line) == (on_cpu and seconds_a_step > 1)
    now += 100
    reporter.advance()
    assert capsys.readouterr().err == ""
    reporter.close()


@pytest.mark.parametrize("seconds_a_step, says", [(10.0, True), (0.1, False)])
def test_after_a_report_only_the_hint_is_left_to_say(seconds_a_step, says, tiny_config, capsys):
    now = 0.0
    report = (2.0, 3.0, [1.0] * 3)
    config = tiny_config(num_steps=200_000)
    reporter = Reporter(config, Totals(report), Writer(), 0, True, lambda: now)
    reporter.write = lambda step, scalars: None
    reporter.restart_clock(1)
    reporter.advance()
    now = seconds_a_step
    reporter.advance()
    reporter.report(2)
    capsys.readouterr()
    now = 300 * seconds_a_step
    reporter.advance(299)
    assert ("long for a CPU" in capsys.readouterr().err) == says
    reporter.close()


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full disk to lend")
def test_a_disk_that_is_full_when_the_curves_are_opened(tmp_path):
    """A real one, without mounting any: the files of the next seconds lie on /dev/full."""
    writer = tf.summary.create_file_writer(str(tmp_path / "before"))
    with writer.as_default(step=0):
        writer.flush()
    writer.close()
    (name,) = os.listdir(tmp_path / "before")
    begin, now, rest = re.fullmatch(r"(.*tfevents\.)(\d+)(\..*)", name).groups()
    rest, number, end = re.fullmatch(r"(.*\.)(\d+)(\.v2)", rest).groups()
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    for second in range(int(now), int(now) + 30):
        for count in range(int(number), int(number) + 3):
            (folder / f"{begin}{second}{rest}{count}{end}").symlink_to("/dev/full")
    there = set(os.listdir(folder))
    with pytest.raises(UserError) as error:
        open_writer(folder)
    assert set(os.listdir(folder)) == there  # the writer met one of them
    assert str(error.value).startswith(f"the curves in {folder} cannot be written: ")
    assert "No space left on device" in str(error.value) and "\n" not in str(error.value)
