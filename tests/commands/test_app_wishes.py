"""Wishes of the page of `ncsn app` without a browser: turns, and no place in the line is kept."""

import threading

import numpy as np
import pytest
import serving_server

from ncsn_tf.commands.app_sources import ServedSource, Source
from ncsn_tf.commands.app_wishes import KEEP, MOST_WAITING, Wishes
from ncsn_tf.errors import UserError
from ncsn_tf.generation.playing import Drawing
from ncsn_tf.generation.turns import Line
from ncsn_tf.serving.server_origin import Server

ASKED = (5, 2, "", 0)  # seed, images, sampler, steps
SECONDS = 30


class HastySource(ServedSource):
    """Repeats a request after no time."""

    def _origin(self, options):
        return Server(options.server, **(options.of_requests() | {"backoff": 1e-3}))


class GatedOrigin:
    """Draws when its gate is open, and fails where it shall."""

    inputs = labels = None

    def __init__(self, error=None):
        self.gate, self.error = threading.Event(), error

    def amount(self, num_images):
        return num_images

    def images(self, seeds, bar):
        assert self.gate.wait(SECONDS)
        if self.error:
            raise self.error
        bar.update(len(seeds))
        yield seeds, np.zeros([len(seeds), 4, 4, 1], np.uint8)

    def close(self):
        self.gate.set()


class GatedSource(Source):
    """What `GatedOrigin`s draw, in the order of the wishes."""

    flags, name, class_names, image_shape = ["--workdir=run"], "run", [], (4, 4, 1)

    def __init__(self, *errors):
        self.origins = [GatedOrigin(error) for error in errors] or [GatedOrigin()]
        self.begun = []

    def steps_flag(self, sampler):
        return "num_steps_each"

    def drawing(self, flags):
        self.begun.append(flags)
        return Drawing(self.origins[len(self.begun) - 1], np.arange(2))


def listening(told):
    """Takes what is told in a thread: (the thread, the list that grows)."""
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(told), daemon=True)
    thread.start()
    return thread, lines


def ended(thread):
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_one_is_drawn_at_a_time_in_the_order_of_wishes(tmp_path):
    source = GatedSource(None, None)
    wishes = Wishes(source, tmp_path)
    first, second = wishes.plain("ann", *ASKED), wishes.plain("ben", *ASKED)
    assert next(first).said == "Begins ..."
    assert next(second).said == "Waits for its turn ..."
    thread, lines = listening(second)
    source.origins[0].gate.set()
    assert [told.said for told in first][-1] == "Done: seeds 5 to 6, row by row."
    source.origins[1].gate.set()
    ended(thread)
    assert (lines[0].said, lines[-1].said[:5]) == ("Begins ...", "Done:")
    assert lines[-1].command == "ncsn sample --workdir=run --num_samples=2 --seed=5"
    assert len(lines[-1].each.splitlines()) == 2 and len(wishes) == 0


def test_a_wish_too_many_is_refused_in_one_line(tmp_path):
    wishes = Wishes(GatedSource(), tmp_path)
    waiting = [wishes.plain("ann", *ASKED) for _ in range(1 + MOST_WAITING)]
    said = [next(each).said for each in waiting]
    assert said == ["Begins ...", *["Waits for its turn ..."] * MOST_WAITING]
    for refused in (wishes.plain("ben", *ASKED), wishes.fill("ben", None, *ASKED)):
        told = next(refused)
        assert (
            told.said
            == f"**error: {MOST_WAITING} wait already: try again when one of them is drawn**"
        )
        assert told.picture is KEEP and told.command is KEEP and not list(refused)
    assert len(wishes) == 1 + MOST_WAITING
    for each in reversed(waiting):
        each.close()
    assert len(wishes) == 0
    assert next(wishes.plain("ben", *ASKED)).said == "Begins ..."


def test_one_that_waits_is_stopped_at_once_and_none_of_others(tmp_path):
    source = GatedSource()
    wishes = Wishes(source, tmp_path)
    first, second = wishes.plain("ann", *ASKED), wishes.plain("ben", *ASKED)
    next(first), next(second)
    thread, lines = listening(second)
    assert wishes.stop("ben").said is KEEP
    assert wishes.stop("cleo").said == "Nothing is being drawn."
    ended(thread)
    assert [told.said for told in lines] == ["Stopped before it began."]
    assert len(wishes) == 1 and source.begun == []
    wishes.stop("ann")
    assert [told.said for told in first][-1].startswith("Stopped at ")
    assert len(wishes) == 0


def test_a_page_that_is_left_before_its_turn_keeps_no_place(tmp_path):
    wishes = Wishes(GatedSource(), tmp_path)
    first, second = wishes.plain("ann", *ASKED), wishes.plain("ben", *ASKED)
    next(first), next(second)
    second.close()  # as Gradio does
    assert len(wishes) == 1
    first.close()
    assert len(wishes) == 0


@pytest.mark.parametrize(
    "work, asked, line",
    [
        ("plain", (5, 99, "", 0), "images must be 1 to 64, not 99"),
        ("plain", (float("inf"), 2, "", 0), "a mistake of the program"),
        ("between", (1, float("inf"), 2, "", 0), "a mistake of the program"),
        ("fill", (None, *ASKED), "there is no picture: upload one"),
        ("to_paint_on", (float("inf"),), "a mistake of the program"),
    ],
)
def test_an_error_before_the_drawing_keeps_no_place(work, asked, line, tmp_path):
    wishes = Wishes(GatedSource(), tmp_path)
    told = getattr(wishes, work)("ann", *asked)
    assert next(told).said.startswith(f"**error: {line}")
    assert len(wishes) == 0
    if line == "a mistake of the program":
        with pytest.raises(OverflowError):
            next(told)


@pytest.mark.parametrize("error", [UserError("the chains diverged"), ValueError("nobody knows")])
def test_an_error_of_the_drawing_keeps_no_place(error, tmp_path):
    source = GatedSource(error)
    wishes = Wishes(source, tmp_path)
    told = wishes.plain("ann", *ASKED)
    next(told)
    source.origins[0].gate.set()
    assert str(error) in next(told).said and len(wishes) == 0


def test_a_server_is_drawn_from_and_one_that_went_away_is_told(tmp_path):
    serving_server.save_stand_in(tmp_path / "export" / "1")
    with serving_server.ServingServer(tmp_path / "export") as server:
        address = f"http://127.0.0.1:{server.rest_port}"
        source = HastySource([f"--server={address}"], address, "ncsn")
        wishes = Wishes(source, tmp_path)
        *_, told = wishes.plain("ann", 5, 1, "", 3)
        assert told.said == "Done: seed 5."
        drawn = serving_server.stand_in_images([5], 3)[0]
        np.testing.assert_array_equal(np.asarray(told.picture)[::112, ::112], drawn)
        server.failures = [("predict", "INTERNAL", "the disk is full")]
        *_, told = wishes.plain("ann", 5, 1, "", 3)
        assert told.said.startswith("**error: ") and "the disk is full" in told.said
    *_, told = wishes.plain("ann", 5, 1, "", 3)
    assert told.said.startswith("**error: no server can be reached at http://127")
    assert len(wishes) == 0


def test_all_ends_when_the_page_is_closed(tmp_path):
    wishes = Wishes(GatedSource(), tmp_path)
    first, second = wishes.plain("ann", *ASKED), wishes.plain("ben", *ASKED)
    next(first), next(second)
    listeners = [listening(first), listening(second)]
    wishes.close()
    for thread, _ in listeners:
        ended(thread)
    assert listeners[0][1][-1].said.startswith("Stopped at ")
    assert listeners[1][1][-1].said == "Stopped before it began."
    (told,) = wishes.plain("cleo", *ASKED)
    assert told.said == "**error: nothing is drawn any more: ncsn app ends**"
    assert len(wishes) == 0


def test_a_line_of_many_threads_is_in_order():
    line, order = Line(most_waiting=7), []

    def take(place, number):
        assert place.wait()
        order.append(number)

    def stay(number, taken, following):
        with line.place(str(number)) as place:
            taken.set()
            following.wait(SECONDS)
            take(place, number)

    all_are_there, threads = threading.Event(), []
    for number in range(8):
        taken = threading.Event()
        threads.append(threading.Thread(target=stay, args=(number, taken, all_are_there)))
        threads[-1].start()
        assert taken.wait(SECONDS)
    assert len(line) == 8
    all_are_there.set()
    for thread in threads:
        ended(thread)
    assert order == list(range(8)) and len(line) == 0
