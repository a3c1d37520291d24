"""The report of a run: what it reads, what it draws, and the page in a browser."""

import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.report import main
from ncsn_tf.data import images
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.quality import history
from ncsn_tf.evaluation.quality.copies import as_figure, compare
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.report import drawings, folder
from ncsn_tf.evaluation.report.page import build_page, write_page, write_report
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training.checkpoints import save_network

FLAGS = ("--dataset=digits", "--features=8", "--num_levels=3", "--num_steps_each=4")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def write_curves(run_dir, curves, suffix=""):
    writer = tf.summary.create_file_writer(str(run_dir / "tensorboard"), filename_suffix=suffix)
    with writer.as_default():
        for tag, points in curves.items():
            for step, value in points:
                tf.summary.scalar(tag, value, step=step)
    writer.close()


FIGURES = [
    *(
        Figure("FD-Train-digits-1k", "fid", value, step=step, sampler={"sampler": sampler})
        for step, sampler, value in ((40, "ald", 2.0), (20, "ald", 3.0), (40, "cas", 1.0))
    ),
    Figure("CS-Train-digits-1k", "is", 9.0, spread=0.1, step=40, seeds=(0, 1000)),
    as_figure(compare(np.array([1.0, 2.0]), np.array([2.0, 3.0, 4.0]), 5), step=40),
]


def save_step(run_dir, step, value):
    """A sample grid of one grey value, told apart by its bytes."""
    grid = np.full([4, 8, 8, 1], value, np.uint8)
    images.save_grid(run_dir / "samples" / f"step-{step:07d}.png", grid)


pytestmark = pytest.mark.usefixtures("loads_once")


@pytest.fixture(scope="module")
def run_dir(config, network, tmp_path_factory):
    """A run with all that a run's folder can hold."""
    run_dir = tmp_path_factory.mktemp("runs") / "a run's <b>name"
    save_network(network, dataclasses.replace(config, workdir=str(run_dir)), step=40)
    steps = range(10, 50, 10)
    curves = {f"train/loss_level_{i}": [(s, 30.0 / i + s) for s in steps] for i in (1, 2, 3)}
    curves["train/loss"] = [(step, 50.0 - step / 2) for step in steps]
    curves["train/gradient_norm"] = [(step, 3.0) for step in steps]
    curves["test/loss"] = [(20, 45.0), (40, 44.0)]
    write_curves(run_dir, curves)
    history.append(run_dir, FIGURES)
    for step, value in ((10, 60), (20, 120), (40, 250)):
        save_step(run_dir, step, value)
    (run_dir / "evaluation").mkdir()
    (run_dir / "evaluation" / "bits_per_dim.json").write_text(
        json.dumps({"bits_per_dim": 1.2345678, "about": {"</script><script>": [1, 2]}})
    )
    return run_dir


def test_settings_beside_those_of_the_nearest_experiment():
    config = parse_config(["train.py", *FLAGS, "--workdir=elsewhere"])
    part = folder.configuration(config)
    assert part["baseline"] == "flags/digits.flags"
    assert [setting["name"] for setting in part["settings"]] == [
        field.name for field in dataclasses.fields(Config)
    ]
    changed = {s["name"]: (s["value"], s["expected"]) for s in part["settings"] if s["changed"]}
    assert changed == {
        "features": ("8", "16"),
        "num_levels": ("3", "10"),
        "num_steps_each": ("4", "30"),
    }


def test_of_several_experiments_on_the_data_the_nearest_counts():
    config = parse_config(["train.py", "--flagfile=cifar10_ncsnv2", "--features=64"])
    part = folder.configuration(config)
    assert part["baseline"] == "flags/cifar10_ncsnv2.flags"
    assert [s["name"] for s in part["settings"] if s["changed"]] == ["features"]


def test_flagfiles_that_are_not_for_training_do_not_count(tmp_path, monkeypatch):
    shutil.copy(folder._FLAGS / "digits.flags", tmp_path)
    (tmp_path / "mysample.flags").write_text("--num_samples=4\n")
    (tmp_path / "bytes.flags").write_bytes(b"\xff\xfe")
    monkeypatch.setattr(folder, "_FLAGS", tmp_path)
    part = folder.configuration(parse_config(["train.py", *FLAGS]))
    assert part["baseline"] == "flags/digits.flags"


def test_settings_of_other_data_beside_the_defaults():
    config = Config(dataset="horses", image_size=64, channels=1, features=32)
    part = folder.configuration(config)
    assert part["baseline"] == "the defaults"
    assert [s["name"] for s in part["settings"] if s["changed"]] == ["features"]


def test_curves_of_a_resumed_run(tmp_path):
    write_curves(tmp_path, {"train/loss": [(1, 9.0), (2, 8.0), (3, 7.0)]}, suffix=".1")
    write_curves(tmp_path, {"train/loss": [(2, 5.0), (3, 4.0), (4, np.nan), (5, 3.0)]}, suffix=".2")
    files = sorted((tmp_path / "tensorboard").iterdir())
    order = [10, 20]  # by the second in their names, in the order they were written
    for path, number in zip(sorted(files, key=lambda path: path.suffix), order, strict=True):
        path.rename(path.with_name(f"events.out.tfevents.{number}"))
    assert folder.scalars(tmp_path) == {"train/loss": ([1, 2, 3, 5], [9.0, 5.0, 4.0, 3.0])}


def test_curves_of_a_run_that_is_still_writing(tmp_path):
    write_curves(tmp_path, {"train/loss": [(1, 9.0), (2, 8.0)], "test/loss": [(2, 7.0)]})
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert folder.scalars(tmp_path) == {"train/loss": ([1, 2], [9.0, 8.0])}
    assert folder.scalars(tmp_path / "none") == {}


def test_charts_name_noise_levels():
    config = Config(sigma_begin=10.0, sigma_end=0.1, num_levels=3)
    curves = {f"train/loss_level_{i}": ([1], [float(i)]) for i in (3, 1, 2)}
    (chart,) = folder.charts(curves, config)
    assert chart["title"] == "Training loss by noise level" and chart["ramp"]
    assert [series["name"] for series in chart["series"]] == ["σ = 10", "σ = 1", "σ = 0.1"]
    assert [series["values"] for series in chart["series"]] == [[1.0], [2.0], [3.0]]

    config = Config(sigma_begin=100.0, sigma_end=0.01, num_levels=401)
    curves = {"train/loss_levels_0001_to_0101": ([1], [2.0]), "test/loss": ([1], [1 / 3])}
    loss, levels = folder.charts(curves, config)
    assert levels["series"][0]["name"] == "σ = 100 to 10"
    assert [(s["name"], s["values"]) for s in loss["series"]] == [("test", [0.333333])]
    assert not loss["ramp"]

    curves = {"train/loss_t_0.00_to_0.50": ([1], [2.0]), "train/loss_t_0.50_to_1.00": ([1], [3.0])}
    (chart,) = folder.charts(curves, Config(model="ddpmpp", num_levels=1000))
    assert chart["title"] == "Training loss by time" and chart["ramp"]
    assert [s["name"] for s in chart["series"]] == ["t = 0.50 to 1.00", "t = 0.00 to 0.50"]
    curves = {"train/loss": ([1], [1.0])}
    for config, over in (
        (Config(), "noise levels"),
        (Config(model="ddpmpp", num_levels=90), "times"),
    ):
        (loss,) = folder.charts(curves, config)
        assert f"averaged over {over}" in loss["about"]


def test_sample_grids_in_the_order_of_steps(tmp_path):
    for step in (5, 10_000_000, 200):
        save_step(tmp_path, step, step % 251)
    (tmp_path / "samples" / "step-x.png").write_text("not a grid")
    grids, count = folder.sample_grids(tmp_path)
    assert [grid["step"] for grid in grids] == [5, 200, 10_000_000] and count == 3
    prefix, _, content = grids[1]["uri"].partition(",")
    assert prefix == "data:image/png;base64"
    written = (tmp_path / "samples" / "step-0000200.png").read_bytes()
    assert base64.b64decode(content) == written


def test_of_many_sample_grids_some_are_shown(tmp_path):
    (tmp_path / "samples").mkdir()
    for step in range(1, 151):
        (tmp_path / "samples" / f"step-{step:07d}.png").write_bytes(b"x")
    grids, count = folder.sample_grids(tmp_path)
    steps = [grid["step"] for grid in grids]
    assert (len(steps), steps[0], steps[-1], count) == (60, 1, 150, 150)
    assert set(np.diff(steps)) == {2, 3}
    (tmp_path / "samples" / "step-0000007.png").write_bytes(bytes(5_000_000))
    grids, _ = folder.sample_grids(tmp_path)
    assert [grid["step"] for grid in grids] == [1, 51, 100, 150]


def test_evaluations_as_rows(tmp_path):
    assert folder.evaluations(tmp_path) == []
    (tmp_path / "evaluation").mkdir()
    path = tmp_path / "evaluation" / "bits_per_dim.json"
    path.write_text('{"mean": 1.23456789, "over": {"images": 10, "names": ["a"], "ok": true}}')
    (table,) = folder.evaluations(tmp_path)
    assert table["name"] == "bits per dim"
    rows = [["mean", "1.23457"], ["over.images", "10"], ["over.names", '["a"]']]
    assert table["rows"] == [*rows, ["over.ok", "true"]]
    path.write_text("{")
    with pytest.raises(UserError, match="bits_per_dim.json is not valid JSON"):
        folder.evaluations(tmp_path)


def test_denoising_is_the_posterior_mean():
    """Of data N(m, v) the score of x~ is (m - x~) / (v + sigma^2)."""
    mean, variance = 0.3, 0.04
    rng = np.random.default_rng(0)
    image, noise = rng.normal(size=(2, 1, 4, 6, 3)).astype(np.float32)
    sigmas = np.float32([2.0, 0.5, 0.01])
    levels = np.int32([0, 3, 9])

    def score_fn(x, given):
        np.testing.assert_array_equal(given, levels)
        return (mean - x) / (variance + tf.reshape(sigmas, [-1, 1, 1, 1]) ** 2)

    perturbed, score, denoised = drawings.denoise(score_fn, image, sigmas, levels, noise)
    s = sigmas.astype(np.float64).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(perturbed, image + s * noise, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(score, (mean - perturbed) / (variance + s**2), rtol=1e-5)
    expected = (variance * (image + s * noise) + s**2 * mean) / (variance + s**2)
    np.testing.assert_allclose(denoised, expected, rtol=1e-4, atol=1e-5)


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_chain_is_a_movie_that_ends_with_the_samples():
    chain = drawings.Chain(8)
    for value in np.linspace(0, 0.5, 120):
        chain.add(np.full([20, 8, 8, 1], value, np.float32))
    part = chain.part(np.full([20, 8, 8, 1], 255, np.uint8))
    with decoded(part["uri"]) as movie:
        assert movie.size == (35, 35) and movie.n_frames <= 51
        movie.seek(movie.n_frames - 1)
        assert np.asarray(movie.convert("L"))[0, 0] == 255
        movie.seek(0)
        assert np.asarray(movie.convert("L"))[0, 0] == 0
    assert part["images"] == 16


def test_movies_of_large_images_show_fewer():
    shown = {size: drawings.Chain(size).num_images for size in (32, 64, 96, 128, 256, 512)}
    assert shown == {32: 16, 64: 16, 96: 9, 128: 4, 256: 1, 512: 1}
    assert drawings.Chain("32x128").num_images == drawings.Chain("128x32").num_images == 4


def test_scores_of_a_perturbed_image(config, network):
    part = drawings.scores_part(config, network)
    assert [level["sigma"] for level in part["levels"]] == ["1", "0.1", "0.01"]
    for level in part["levels"]:
        # The root mean square of 64 normal numbers times sigma.
        assert float(level["before"]) == pytest.approx(float(level["sigma"]), rel=0.3)
    clean, last = (decoded(uri) for uri in (part["image"], part["levels"][-1]["perturbed"]))
    difference = np.asarray(clean).astype(int) - np.asarray(last)
    assert clean.size == (8, 8) and 0 < np.abs(difference).max() < 12


@pytest.fixture(scope="module")
def page(run_dir):
    """Everything of the run: its samples are drawn once for all tests."""
    lines = []
    page = build_page(run_dir, say=lines.append)
    assert not lines
    return page


def test_everything_of_a_run(run_dir, page):
    json.dumps(page, allow_nan=False)
    assert page["run"] == run_dir.name and page["weights"] == "weights"
    facts = dict(page["facts"])
    assert facts["steps done"] == "40 of 200,000" and facts["training loss"] == "30"
    titles = ["Loss", "Training loss by noise level", "Gradient norm"]
    assert [chart["title"] for chart in page["charts"]] == titles
    assert page["samples"]["count"] == 3
    assert page["evaluations"][0]["rows"][0] == ["bits_per_dim", "1.23457"]
    neighbors = page["neighbors"]
    assert (neighbors["searched"], neighbors["space"]) == (1618, "pixels")
    assert len(neighbors["rows"]) == 8
    for row in neighbors["rows"]:
        distances = [neighbor["distance"] for neighbor in row["neighbors"]]
        assert len(distances) == 6 and distances == sorted(distances)
    # Test images are like training images; what an untrained network draws is not.
    assert 0 < neighbors["test"] < neighbors["samples"]
    assert page["chain"]["uri"].startswith("data:image/gif;base64,")


def test_figures_of_quality_in_the_page(run_dir, page, tmp_path):
    part = page["quality"]
    assert [(chart["title"], chart["about"]) for chart in part["charts"]] == [
        ("FD-Train-digits-1k", "lower is better"),
        ("CS-Train-digits-1k", "higher is better"),
    ]
    lines = part["charts"][0]["series"]
    assert lines == [
        {"name": "sampler ald", "steps": [20, 40], "values": [3.0, 2.0]},
        {"name": "sampler cas", "steps": [40], "values": [1.0]},
    ]
    assert part["count"] == 4 and part["rows"][0][:3] == [
        "CS-Train-digits-1k",
        "9 \u00b1 0.1",
        "40",
    ]
    assert part["rows"][0][8] == "0 to 999"
    assert part["copies"].endswith("no more than chance (after step 40).")

    again = dataclasses.replace(FIGURES[0], value=1.5, ranges=(1.0, 2.0), spread=0.7)
    history.append(tmp_path, [*FIGURES, again])  # measured again: the newer counts
    part = quality_part(tmp_path)
    assert part["charts"][0]["series"][0]["values"] == [3.0, 1.5] and part["count"] == 4
    assert "1.5 \u00b1 0.7 of 2 ranges, minimum 1" in {row[1] for row in part["rows"]}


def test_what_a_run_lacks_is_said(tmp_path):
    parse_config(["train.py", *FLAGS, f"--workdir={tmp_path}"]).save(tmp_path / "config.json")
    page = build_page(tmp_path)
    why = {name: part["missing"] for name, part in page.items() if "missing" in (part or "")}
    parts = ["chain", "charts", "evaluations", "neighbors", "quality", "samples", "scores"]
    assert sorted(why) == parts
    assert why["chain"] == "The run has no checkpoint yet."
    assert "TensorBoard" in why["charts"]
    assert dict(page["facts"])["steps done"] == "0 of 1,000" and page["weights"] is None


def test_what_is_not_wanted_is_not_drawn(run_dir, tmp_path):
    nothing = {"chain": False, "neighbors": False, "scores": False}
    page = build_page(run_dir, **nothing)
    assert page["chain"]["missing"] == "Left out (--nochain)."
    assert page["neighbors"]["missing"] == "Left out (--noneighbors)."
    assert page["scores"]["missing"] == "Left out (--noscores)."

    movie = tmp_path / "chain.gif"
    images.save_movie(movie, [np.zeros([8, 8, 1], np.uint8)] * 2)
    page = build_page(run_dir, **nothing, chain_file=str(movie))
    assert page["chain"]["uri"] == folder.data_uri(movie.read_bytes(), "gif")


def test_a_run_whose_data_are_elsewhere(config, network, tmp_path, monkeypatch):
    """The rest of the page is made, and the page and the terminal say why a part is not."""
    away = tmp_path / "away"
    config = dataclasses.replace(
        config, dataset="image_folder", data_dir=str(tmp_path / "none"), workdir=str(away)
    )
    save_network(network, config)
    lines = []
    monkeypatch.setattr(drawings, "draw_samples", None)  # not before the data are there
    page = build_page(away, chain=False, say=lines.append)
    for name in ("neighbors", "scores"):
        assert re.search("data_dir '.*none' is not a folder", page[name]["missing"])
    assert len(lines) == 2 and all("left out: data_dir" in line for line in lines)


def test_neighbors_alone_draw_their_samples(config, network, monkeypatch):
    samples = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    asked = []
    draw = lambda *given, labels: asked.append(given) or samples  # noqa: E731
    monkeypatch.setattr(drawings, "draw_samples", draw)
    part = drawings.neighbors_part(config, network, "pixels")
    assert asked == [(network, config, range(8))]
    assert part == drawings.neighbors_part(config, network, "pixels", samples)


def command(*flags):
    """Exit code of the command in this process."""
    with pytest.raises(SystemExit) as end:
        run_command(main, ["ncsn report", *flags])
    return end.value.code


def test_command_says_what_is_wrong(run_dir, tmp_path, capsys):
    text = tmp_path / "text.gif"
    text.write_text("not a GIF")
    for code, line, *flags in (
        (1, "holds no checkpoint: train first", f"--workdir={tmp_path / 'none'}"),
        (1, "none.gif is not a file", f"--workdir={run_dir}", f"--chain_file={tmp_path}/none.gif"),
        (1, "text.gif is not a GIF", f"--workdir={run_dir}", f"--chain_file={text}"),
        (1, "x.html cannot be written: Not a dir", f"--workdir={run_dir}", f"--out={text}/x.html"),
        (2, "--space=colour must be pixels or features", "--space=colour"),
    ):
        assert command(*flags) == code
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and line in error
    assert not (run_dir / "report.html").exists()


def test_command_writes_into_the_runs_folder(run_dir, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    assert command(f"--workdir={copy}", "--nochain", "--noneighbors", "--noscores") == 0
    assert f"Wrote {copy / 'report.html'}" in capsys.readouterr().out
    assert (copy / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.fixture(scope="module")
def page_path(page, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_page(out, page)
    return out


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """(path, fragment, script) -> the page's DOM after its scripts, and `script`, have run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("neither Chromium nor Chrome is installed")
    place = tmp_path_factory.mktemp("browser")

    def browse(path, fragment="", script=""):
        opened = place / "opened.html"
        text = path.read_text(encoding="utf-8")
        opened.write_text(f"{text}<script>{script}</script>", encoding="utf-8")
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu"),
                *(f"--user-data-dir={place / 'profile'}", "--virtual-time-budget=5000"),
                *("--window-size=1200,900", "--dump-dom", f"{opened.as_uri()}{fragment}"),
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        # What the scripts made of the page, without the scripts.
        return re.sub("<script.*?</script>", "", done.stdout, flags=re.DOTALL)

    return browse


def shown_step(dom):
    """The step that the page names, and the picture that it shows."""
    (label,) = re.findall('<output[^>]*id="step">(.*?)</output>', dom)
    (tag,) = re.findall('<img[^>]*id="grid"[^>]*>', dom)
    return label, re.search('src="(.*?)"', tag)[1]


def test_page_in_a_browser(page_path, browse, run_dir):
    dom = browse(page_path)
    assert 'class="error">' not in dom.replace('<noscript><p class="error">', "")
    assert dom.count("<section ") == 8 and 'class="empty"' not in dom
    assert '<h1 id="run">a run\'s &lt;b&gt;name</h1>' in dom
    assert dom.count("<polyline") == 2 + 3 + 1 + 3
    assert dom.count("<h3>FD-Train-digits-1k</h3>") == dom.count("<td>FD-Train-digits-1k</td>") / 3
    assert "Copies: samples lie nearer to training images" in dom
    assert dom.count('<div class="fact">') == 6
    assert dom.count('alt="sample"') == 8 and dom.count('alt="score"') == 3
    assert "&lt;/script&gt;&lt;script&gt;" in dom  # a key of the evaluation, as text
    sources = re.findall('src="(.*?)"', dom)
    assert len(sources) == 2 + 8 * 7 + 1 + 9
    assert all(re.match("data:image/(png|gif);base64,", source) for source in sources)
    picture = (run_dir / "samples" / "step-0000040.png").read_bytes()
    assert shown_step(dom) == ("after step 40", folder.data_uri(picture, "png"))


@pytest.mark.parametrize(
    "fragment, script",
    [
        ("#step=20", ""),
        ("#step=39", ""),
        (
            "",
            "const slider = document.getElementById('slider'); slider.value = 1;"
            "slider.dispatchEvent(new Event('input'));",
        ),
    ],
)
def test_slider_moves_the_picture(page_path, browse, run_dir, fragment, script):
    picture = (run_dir / "samples" / "step-0000020.png").read_bytes()
    expected = ("after step 20", folder.data_uri(picture, "png"))
    assert shown_step(browse(page_path, fragment, script)) == expected


def test_curves_answer_the_pointer(page_path, browse):
    script = (
        "const plot = document.querySelector('svg'), box = plot.getBoundingClientRect();"
        "plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right}));"
    )
    dom = browse(page_path, script=script)
    (tip,) = re.findall('<div class="tip" style.*?</b>(.*?)</div></div>', dom)
    assert re.sub("<.*?>", "", tip) == "training: 30test: 44"


def test_page_loads_nothing_and_shows_errors(page_path, browse):
    dom = browse(page_path, script="throw new Error('planted');")
    assert "This page has an error: Uncaught Error: planted" in dom
    script = "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
    assert "This page has an error: blocked http://127.0.0.1:9/x.png" in browse(
        page_path, script=script
    )
    text = page_path.read_text(encoding="utf-8")
    assert set(re.findall("https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_page_of_a_run_that_has_nothing_yet(tmp_path, browse):
    parse_config(["train.py", *FLAGS, f"--workdir={tmp_path}"]).save(tmp_path / "config.json")
    dom = browse(write_report(tmp_path))
    assert 'class="error">' not in dom.replace('<noscript><p class="error">', "")
    assert dom.count('class="empty"') == 7
    assert "No grid of samples has been drawn" in dom
    assert '<table id="changed">' in dom
