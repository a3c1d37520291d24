"""Shards: any number of them gives the same files; what is missing or foreign is said."""

import numpy as np
import pytest
from test_writing import Origin

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import read_arrays, save_arrays
from ncsn_tf.generation import write_samples
from ncsn_tf.generation.block_files import read_blocks
from ncsn_tf.generation.shards import Shard, merge, write_shard


class Known(Origin):
    """An origin that says what it draws with."""

    def __init__(self, **about):
        super().__init__(batch_size=2)
        self._about = {"step_lr": 0.1, **about}

    def about(self):
        return self._about


def draw(folder, count, number=23, block=4, first_seed=-5, origin=None):
    """All shards, the last first."""
    for index in reversed(range(count)):
        write_shard(
            origin or Known(),
            Shard(index, count),
            first_seed,
            number,
            folder=folder,
            block=block,
        )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("count", [2, 3, 9])
def test_any_number_of_shards_gives_the_same_files(count, tmp_path):
    draw(tmp_path / "one", 1)
    draw(tmp_path / "many", count)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert len(contents(tmp_path / "one")) == 6


def test_merged_they_are_the_file_of_one_process(tmp_path):
    draw(tmp_path / "parts", 3)
    assert merge(tmp_path / "parts", output=tmp_path / "merged.npz") == 23
    write_samples(Known(), np.arange(23) - 5, output=tmp_path / "whole.npz", format="npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_what_is_there_is_not_drawn_again(tmp_path, capsys):
    draw(tmp_path, 1)
    before = contents(tmp_path)
    (tmp_path / "seeds--00001-000002.npz").unlink()
    origin = Known()
    draw(tmp_path, 1, origin=origin)
    assert sorted(sum(origin.batches, [])) == [-1, 0, 1, 2]
    assert contents(tmp_path) == before
    assert capsys.readouterr().err == "5 of 6 files of this shard are there already\n"


def test_a_shard_of_fewer_images_than_shards_has_nothing_to_do(tmp_path):
    assert write_shard(Known(), Shard(0, 3), 0, 2, folder=tmp_path, block=4) == []
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_refused_when_drawing_and_when_merging(tmp_path):
    draw(tmp_path, 1, number=8, first_seed=0)
    other = Known(step_lr=0.2)
    message = "was drawn with step_lr 0.1 and not 0.2: name another --out"
    with pytest.raises(UserError, match=message):
        draw(tmp_path, 1, number=8, first_seed=0, origin=other)
    (tmp_path / "seeds-000004-000007.npz").unlink()
    write_shard(other, Shard(1, 2), 0, 8, folder=tmp_path / "other", block=4)
    (tmp_path / "other" / "seeds-000004-000007.npz").rename(tmp_path / "seeds-000004-000007.npz")
    with pytest.raises(UserError, match="000004.*was drawn with step_lr 0.2 and not 0.1, unlike"):
        read_blocks(tmp_path)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"block": 2}, "drawn with block 4 and not 2"),
        ({"number": 9}, r"drawn with seeds \[0, 8\] and not \[0, 9\]"),
        ({"origin": Known(step_lr=0.2)}, "drawn with step_lr 0.1 and not 0.2"),
    ],
)
def test_files_of_another_shard_are_looked_at_before_drawing(changed, message, tmp_path):
    write_shard(Known(), Shard(0, 2), 0, 8, folder=tmp_path, block=4)
    last = {"origin": Known(), "number": 8, "block": 4} | changed
    with pytest.raises(UserError, match=message):
        write_shard(
            last["origin"], Shard(1, 2), 0, last["number"], folder=tmp_path, block=last["block"]
        )
    assert not last["origin"].batches


@pytest.mark.parametrize(
    "removed, lacks",
    [("000000-000003", "0 to 3"), ("000004-000007", "4 to 7"), ("000008-000009", "8 to 9")],
)
def test_gaps_are_named(removed, lacks, tmp_path):
    draw(tmp_path, 2, number=10, first_seed=0)
    (tmp_path / f"seeds-{removed}.npz").unlink()
    with pytest.raises(UserError, match=f"lacks the images of seeds {lacks}: run their shards"):
        read_blocks(tmp_path)


def test_overlaps_are_named(tmp_path):
    draw(tmp_path, 1, number=8, first_seed=0)
    (tmp_path / "seeds-000004-000008.npz").write_bytes(
        (tmp_path / "seeds-000004-000007.npz").read_bytes()
    )
    with pytest.raises(UserError, match="holds images that another file holds too"):
        read_blocks(tmp_path)


@pytest.mark.parametrize(
    "damage", ["cut", "foreign", "seeds", "scalar", "shape", "about", "list", "bytes"]
)
def test_files_that_are_no_blocks_are_one_line(damage, tmp_path):
    draw(tmp_path, 1, number=8, first_seed=0)
    path = tmp_path / "seeds-000004-000007.npz"
    arrays = read_arrays(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "bytes":
        path.write_bytes(b"")
    else:
        changed = {
            "foreign": {"images": arrays["images"][:, 0]},
            "seeds": {"seeds": arrays["seeds"][::-1]},
            "shape": {"images": arrays["images"][:, :2]},
            "scalar": {"seeds": np.int64(4)},
            "about": {"about": np.frombuffer(b"[[[", np.uint8)},
            "list": {"about": np.frombuffer(b'{"seeds": [1]}', np.uint8)},
        }
        save_arrays(path, arrays | changed[damage])
    with pytest.raises(UserError) as error:
        read_blocks(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_blocks_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="holds no seeds-"):
            read_blocks(folder)


@pytest.mark.parametrize(
    "text, environment, message",
    [
        ("8/8", {}, "must be i/n with i from 0 to n - 1"),
        ("-1/8", {}, "must be i/n"),
        ("1", {}, "must be i/n"),
        ("1/x", {}, "must be i/n"),
        ("auto", {}, "needs the variables"),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}, "must be auto/n: Kubernetes does not tell n"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "--shard=auto/2 must be .*, not 2/2"),
    ],
)
def test_shards_that_are_none(text, environment, message):
    with pytest.raises(ConfigError, match=message):
        Shard.parse(text, environment)
