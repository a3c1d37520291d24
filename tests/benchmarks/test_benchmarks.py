"""The benchmark program: what it counts, computes and prints; how fast is not tested."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from benchmarks import (
    children,
    comparisons,
    convolutions,
    machine,
    operations,
    options,
    report,
    rows,
    run,
    server,
    timing,
)
from benchmarks.cases import Case, parse_list
from ncsn_tf import losses
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.models import functional
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_equation import equation_of

ROOT = Path(__file__).resolve().parents[2]


def config(**settings):
    return Config(**{"features": 2, "image_size": 8, "channels": 1, "batch_size": 2} | settings)


# Statistics


def test_quantiles_are_interpolated():
    assert timing.quantile([7.0], 0.9) == 7.0
    assert timing.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert timing.quantile([10, 20, 30, 40, 50], 0.95) == pytest.approx(48)
    with pytest.raises(ValueError, match="no values"):
        timing.quantile([], 0.5)


def test_summary_is_median_and_half_the_distance_of_the_quartiles():
    # Quartiles 2 and 4, median 3; the outlier moves none of them.
    assert timing.summarize([2, 1, 100, 4, 3]) == timing.Summary(3, 1 / 3, 5)
    assert timing.summarize([5.0]) == timing.Summary(5.0, None, 1)


@pytest.mark.parametrize("seconds, least, calls", [(0.0, 3, 3), (10.0, 3, 5), (10.0, 7, 7)])
def test_repeat_ends_with_the_time_but_not_before_the_least_number(seconds, least, calls):
    ticks = iter([0, 1, 3, 6, 9, 12, 15, 18, 21])
    times = timing.repeat(lambda: None, seconds, least, clock=lambda: next(ticks))
    assert times == [1, 2, 3, 3, 3, 3, 3][:calls]


# Counted operations


@pytest.mark.parametrize(
    "image_shape, features, expected, reference",
    [((32, 32, 3), 128, 9_867_886_592, 9.89), ((28, 28, 1), 64, 1_888_323_584, 1.89)],
)
def test_multiply_adds_of_the_papers_networks(image_shape, features, expected, reference):
    network = NCSN(image_shape, features, 10)
    counted = operations.convolutions(network, image_shape)
    assert operations.multiply_adds(counted, unmerged=True) == expected
    # The reference has the shortcut of the first block that halves before its pooling, at four
    # times the work.
    pixels, pairs = image_shape[0] * image_shape[1], features * 2 * features
    assert round((expected + (pixels - pixels // 4) * pairs) / 1e9, 2) == reference
    # The other path of that block has 16 instead of 36 multiply-adds for each pooled pixel.
    done = operations.multiply_adds(counted)
    assert expected - done == (36 - 16) * (pixels // 4) * pairs


def test_multiply_adds_by_hand_also_within_nested_functions():
    kernel = tf.ones([3, 3, 2, 5])

    @tf.function(autograph=False)
    def inner(x):
        return tf.nn.conv2d(x, kernel, 1, "SAME", dilations=2)

    def network(x, levels):
        return tf.nn.conv2d(inner(x), tf.ones([1, 1, 5, 2]), 1, "SAME")

    expected = 6 * 4 * 5 * (3 * 3 * 2) + 6 * 4 * 2 * 5
    counted = operations.convolutions(network, (6, 4, 2))
    assert operations.multiply_adds(counted) == expected
    assert not tf.config.functions_run_eagerly()
    with pytest.raises(ValueError, match="no convolution"):
        operations.multiply_adds(operations.convolutions(lambda x, levels: x, (6, 4, 2)))


def test_shapes_of_convolutions():
    def network(x, levels):
        for kernel, stride, dilation in [([3, 3, 2, 2], 1, 2)] * 2 + [([4, 4, 2, 5], 2, 1)]:
            x = tf.nn.conv2d(x, tf.ones(kernel), stride, "SAME", dilations=dilation)
        return x

    counted = operations.convolutions(network, (6, 4, 2))
    assert {str(shape): number for shape, number in counted.items()} == {
        "6x4, 2 to 2, 3x3, dilation 2": 2,
        "6x4, 2 to 5, 4x4, stride 2": 1,
    }
    halving = list(counted)[1]
    assert (halving.image, halving.result) == ((6, 4, 2), (3, 2, 5))
    assert halving.multiply_adds() == 3 * 2 * 5 * (4 * 4 * 2)
    assert halving.multiply_adds(unmerged=True) == 6 * 4 * 5 * (3 * 3 * 2)


@pytest.mark.parametrize("product", convolutions.PRODUCTS)
def test_every_convolution_of_the_third_generation_is_measured(product):
    network = NCSNpp((8, 8, 1), 4, (1, 2), num_res_blocks=1, progressive_input="residual")
    shapes = operations.convolutions(network, network.image_shape)
    assert [str(each) for each in shapes if each.padding == "VALID"] == [
        "9x9, 1 to 4, 3x3, stride 2, without borders"
    ]
    for shape in shapes:
        assert np.isfinite(convolutions.product_fn(shape, product, 2, 2)())


def test_an_image_that_is_taken_apart_is_counted_whole():
    def network(x, levels):
        return functional.dilated_convolution(x, tf.ones([3, 3, 2, 5]), 2)

    counted = operations.convolutions(network, (6, 4, 2))
    assert operations.multiply_adds(counted) == 6 * 4 * 5 * (3 * 3 * 2)


@pytest.mark.parametrize("batch_size, tile", [(2, 2), (4, 2)])
@pytest.mark.parametrize("product", convolutions.PRODUCTS)
def test_a_product_runs_as_often_as_it_says_for_the_whole_batch(product, batch_size, tile):
    shape = operations.Shape((4, 4, 2), (2, 2, 3), (4, 4, 2, 3), 2, 1)
    fn = convolutions.product_fn(shape, product, batch_size, tile)
    context.enable_graph_collection()
    try:
        assert np.isfinite(fn())
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.disable_graph_collection()
    names = {"result": "Conv2D", "kernel_gradient": "Conv2DBackpropFilter"}
    name = names.get(product, "Conv2DBackpropInput")
    # As it runs, after TensorFlow has optimised it: equal products must not have become one.
    optimized = [node.op for graph in graphs for node in graph.post_optimization_graph.node]
    assert sum(op.endswith(name) for op in optimized) == convolutions.IN_A_ROW * batch_size // tile


def test_graph_nodes_counts_the_library_too():
    graph_def = tf.compat.v1.GraphDef()
    graph_def.node.add(name="a")
    for size in (2, 3):
        function = graph_def.library.function.add()
        for index in range(size):
            function.node_def.add(name=str(index))
    assert operations.graph_nodes(graph_def) == 1 + 2 + 3


def test_gemm_rate_and_memory_are_of_this_machine():
    assert 0.01 < machine.gemm_rate(seconds=0.0, size=64) < 1e6
    assert 50 < machine.resident_memory() <= machine.peak_memory() * 1.01
    assert machine.describe()["cores"] >= 1


# Cases


def test_cases_are_every_combination_and_are_checked_before_anything_runs():
    flags = options.TrainOptions(
        features="8,16", batch_sizes="4", onednn="true,false", num_virtual_devices="2"
    )
    cases = flags.cases()
    assert [(case.config.features, case.onednn) for case in cases] == [
        (8, True),
        (8, False),
        (16, True),
        (16, False),
    ]
    assert cases[0].config.image_shape == (32, 32, 3)
    assert (cases[0].config.batch_size, cases[0].config.num_virtual_devices) == (4, 2)
    (case, *_) = dataclasses.replace(flags, image_size="48x64").cases()
    assert case.config.image_shape == (48, 64, 3)
    with pytest.raises(ConfigError, match="--batch_size=3 cannot be split evenly"):
        dataclasses.replace(flags, batch_sizes="4,3").cases()


@pytest.mark.parametrize(
    "name, text, kind", [("a", "1,x", int), ("b", "yes", bool), ("c", "", int)]
)
def test_a_list_that_is_none_is_refused(name, text, kind):
    with pytest.raises(ConfigError, match=f"^--{name}={text} must be .* with commas between$"):
        parse_list(name, text, kind)


def test_data_sets_that_are_measured():
    def names(**flags):
        return [case.config.dataset for case in options.DataOptions(**flags).cases()]

    assert names() == ["digits"]
    assert names(data_dir="there") == ["digits", "cifar10", "mnist"]
    assert names(data_dir="there", dataset="mnist") == ["mnist"]
    numbers = options.DataOptions(pictures="7,9").prepared_cases()
    assert [number for number, _ in numbers] == [7, 9]
    assert numbers[1][1].config.image_shape == (64, 64, 3)
    assert numbers[1][1].settings["dataset"] == "9 pictures"
    assert options.DataOptions(pictures="").prepared_cases() == []
    (case,) = options.DataOptions().cases()
    assert case.config.image_shape == (8, 8, 1)


def test_serve_needs_clients():
    with pytest.raises(ConfigError, match="--clients=1,0 must be"):
        options.ServeOptions(clients="1,0").cases()


def test_a_saved_model_is_started_once_a_width(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "measure", lambda module, *_, **__: {"path": module})
    flags = options.StartupOptions(features="8,16")
    jobs = list(run.jobs("startup", flags, tmp_path, lambda line: None))
    starts = [(job.case.settings["start"], job.case.config.features) for job in jobs]
    assert starts == [("training", w) for w in (8, 8, 16, 16)] + [
        ("SavedModel", w) for w in (8, 16)
    ]
    assert [job.parameters["export"] for job in jobs] == [""] * 4 + ["export"] * 2


# Rows and tables

TRAIN = {"gflop": 40.0, "first_step": 9.0, "graph_nodes": 1234}


def test_rows_of_train_by_hand():
    case = Case(Config(features=32, batch_size=16), {"features": 32})
    first = TRAIN | {
        "seconds": [1.0, 1.0, 2.0],
        "processor_seconds": 1.5,
        "gemm_before": 90.0,
        "gemm_after": 110.0,
    }
    second = TRAIN | {
        "seconds": [2.0, 4.0],
        "processor_seconds": 2.5,
        "gemm_before": 50.0,
        "gemm_after": 50.0,
    }
    results = [first | {"peak_memory": 900.0}, second | {"peak_memory": 950.0, "first_step": 10.0}]
    (row,) = rows.train_rows(case, results)
    expected = {
        "seconds": 2.0,
        "spread": 0.25,
        "runs": 5,
        "images_per_second": 8.0,
        "gflops": 20.0,
        "gemm_before": 70.0,
        "gemm_after": 80.0,
        # (40 / 1) / 100 and (40 / 3) / 50: each process against its own GEMM rate.
        "share": (0.4 + 40 / 150) / 2,
        "reference_share": 0.41,
        "over_reference": (0.4 + 40 / 150) / 2 / 0.41,
        "processor": 2.0,
        "peak_memory": 950.0,
        "first_step": 9.5,
        "graph_nodes": 1234,
    }
    assert row == pytest.approx(expected)


def test_what_averages_take_by_hand():
    flags = options.TrainOptions(
        features="4", batch_sizes="2,4", ema_power="0.05,0.1", pytorch=True, repeats=2
    )
    cases = flags.cases()
    assert [(c.config.batch_size, c.config.ema_power) for c in cases] == [
        (2, ""), (2, "0.05,0.1"), (4, ""), (4, "0.05,0.1")
    ]  # fmt: skip
    jobs = list(run.jobs("train", flags, "", print))
    assert [job.module for job in jobs] == ["train", "pytorch", "train"] * 2
    with pytest.raises(ConfigError, match="--ema_power=0.1 must be two to four lengths"):
        options.TrainOptions(ema_power="0.1").cases()
    times = [(1.0, 2.0, 100.0), (4.0, 6.0, 100.0)], [(1.5, 2.5, 107.0), (5.0, 6.0, 111.0)]
    without, kept = (
        {
            "settings": case.settings,
            "rows": [{}],
            "results": [
                {"seconds": [s, s, 99.0], "processor_seconds": p, "peak_memory": m}
                for s, p, m in turns
            ],
        }
        for case, turns in zip(cases, times, strict=False)
    )
    comparisons.compare_with_averages([without, kept])
    assert without["rows"] == [{}]
    (row,) = kept["rows"]
    # 1.5 and 1.25 times the seconds, 1.25 and 1 times those of the processor.
    assert row == {"over_without": 1.375, "processor_over": 1.125, "memory_over": 9.0}


def test_the_references_share_is_shown_only_for_its_own_case():
    known = Config(features=128, batch_size=4)
    assert rows.reference_share("sample", known) == 0.58
    for changed in ({"features": 64}, {"image_size": 28}, {"precision": "mixed_bfloat16"}):
        assert rows.reference_share("sample", dataclasses.replace(known, **changed)) is None


def test_rows_of_sample_by_hand():
    case = Case(config(batch_size=4), {})
    result = {"gemm_before": 10.0, "gemm_after": 10.0, "gflop": 1.0, "peak_memory": 1.0}
    times = {"seconds": [1.0], "step_seconds": [1.1, 1.3], "bare_seconds": [0.03, 0.05]}
    results = [result | times | {"chain_steps": 5}]
    (row,) = rows.sample_rows(case, results)
    assert row["own_work"] == pytest.approx(0.04)
    assert row["overhead"] == pytest.approx(0.2)
    assert row["langevin_step"] == pytest.approx(1.2)
    assert (row["images_per_second"], row["share"]) == (4.0, pytest.approx(0.1))


def test_rows_of_convolutions_by_hand():
    case = Case(Config(features=128, batch_size=4), {})
    products = {"result": 0.5, "kernel_gradient": 0.25, "input_gradient": 1.0}
    first = {"convolution": "a", "number": 2, "gflop": 10.0, **products}
    images = {"convolution": "b", "number": 1, "gflop": 5.0, **products}
    del images["input_gradient"]
    # The gflop of an evaluation are not the sum where convolutions are merged with poolings.
    result = {"convolutions": [first, images], "gflop": 30.0, "gemm": 40.0}
    one, other, evaluation, step = rows.convolutions_rows(case, [result])
    assert (one["result_share"], one["kernel_gradient_share"]) == (0.5, 1.0)
    assert "input_gradient" not in other
    assert evaluation["number"] == step["number"] == 3
    assert (evaluation["seconds"], step["seconds"]) == (1.5, 1.5 + 0.75 + 2.0)
    assert evaluation["share"] == 30 / 1.5 / 40
    assert step["over_reference"] == pytest.approx(90 / 4.25 / 40 / 0.60)


def test_pytorch_is_compared_with_the_case_before_it():
    case = Case(config(batch_size=4), {})
    result = {"gemm_before": 10.0, "gemm_after": 10.0, "gflop": 1.0, "peak_memory": 1.0}
    theirs = rows.pytorch_rows(case, [result | {"seconds": [3.0]}])
    cases = [{"rows": [{"seconds": 2.0}]}, {"rows": theirs}, {"rows": []}, {"rows": theirs}]
    comparisons.compare_with_pytorch(cases)
    assert cases[0]["rows"][0]["over_pytorch"] == 1.5
    assert theirs[0]["program"] == "PyTorch" and "over_pytorch" not in theirs[0]


def test_pytorch_computes_the_reference_network():
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch_network import PyTorchNCSN, parameters_like

    with np.load(ROOT / "tests" / "golden" / "ncsn_cifar10_ngf8.npz") as vectors:
        arrays = {name[6:]: vectors[name] for name in vectors if name.startswith("param/")}
        x, levels, expected = (vectors[name] for name in ("x", "labels", "score"))
    with torch.no_grad():
        images = torch.as_tensor(x.transpose(0, 3, 1, 2))
        score = PyTorchNCSN(arrays)(images, torch.as_tensor(levels).long()).numpy()
    error = np.abs(score.transpose(0, 2, 3, 1) - expected).max()
    assert error < 1e-5 * np.abs(expected).max()
    fresh = parameters_like(NCSN((32, 32, 3), 8, 10), torch.Generator().manual_seed(0))
    assert {name: tuple(a.shape) for name, a in fresh.items()} == {
        name: a.shape for name, a in arrays.items()
    }


@pytest.mark.parametrize("name", ["ncsnpp_ve_continuous", "ddpmpp_vp"])
def test_pytorch_computes_the_third_generation(name):
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch_unet import PyTorchNCSNpp

    with np.load(ROOT / "tests" / "golden" / "sde" / f"{name}.npz") as vectors:
        arrays = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
        x, condition, expected = (vectors[key] for key in ("x", "time_cond", "output"))
    settings = {"progressive_input": "residual"}
    if name == "ddpmpp_vp":
        settings = {"embedding": "positional", "fir": False, "scale_by_sigma": False}
        settings["centered"] = True
    network = NCSNpp((16, 16, 3), 8, (1, 2), 1, (8,), **settings)
    with torch.no_grad():
        images = torch.as_tensor(x.transpose(0, 3, 1, 2))
        output = PyTorchNCSNpp(network, arrays)(images, torch.as_tensor(condition)).numpy()
    for one, wanted in zip(output.transpose(0, 2, 3, 1), expected, strict=True):
        assert np.abs(one - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_models_are_the_published_ones_without_dropout():
    case, other = options.TrainOptions(model="ncsnpp,ddpmpp", features="4", batch_sizes="2").cases()
    settings = case.config, other.config
    assert [each.sde for each in settings] == ["ve", "vp"]
    assert [each.embedding for each in settings] == ["fourier", "positional"]
    assert all(each.continuous and not each.dropout and each.features == 4 for each in settings)
    (case,) = options.TrainOptions(
        model="ncsnpp", features="4", batch_sizes="2", dropout="0.25"
    ).cases()
    assert case.config.dropout == 0.25
    assert rows.reference_share("train", dataclasses.replace(case.config, features=32)) is None
    with pytest.raises(
        ConfigError, match=r"--pytorch=true is for --model=ncsn or ncsnpp or ddpmpp"
    ):
        options.SampleOptions(model="ddpm", features="32", pytorch=True).cases()


def test_losses_in_pytorch_are_those_of_the_objective():
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch import diffusion_loss

    images = torch.rand([3, 2, 8, 8], generator=torch.Generator().manual_seed(1))
    for model, sde in (("ncsnpp", "ve"), ("ddpmpp", "vp")):
        settings = Config(model=model, sde=sde, continuous=True)
        equation, seen = equation_of(settings), []

        def network(x, condition, seen=seen):
            seen.append((x, condition))
            return torch.zeros_like(x)

        loss = diffusion_loss(settings)(network, images, torch.Generator().manual_seed(2))
        draws = torch.Generator().manual_seed(2)
        t = (1e-5 + (1 - 1e-5) * torch.rand(3, generator=draws)).numpy()
        noise = torch.randn(images.shape, generator=draws).numpy()
        x = 2 * images.numpy() - 1 if settings.centered else images.numpy()
        mean, std = equation.marginal(x, t)
        std = np.reshape(std, [3, 1, 1, 1])
        np.testing.assert_allclose(seen[0][0], mean + std * noise, rtol=1e-4, atol=1e-4)
        condition = std.ravel() if sde == "ve" else 999 * t
        np.testing.assert_allclose(seen[0][1], condition, rtol=1e-4)
        wanted = losses.diffusion_matching(
            lambda x, t: tf.zeros_like(x), equation, x, t, noise, False, settings.reduce_mean
        )
        np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-4)


def test_rows_of_startup_memory_data_and_serve_by_hand():
    case = Case(config(batch_size=10), {})
    marks = [{"imported": 1.0, "first": 4.0}, {"imported": 3.0, "first": 6.0}]
    started = [{"marks": m, "later": 1.0, "graph_nodes": 7, "gemm_after": 5.0} for m in marks]
    (row,) = rows.startup_rows(case, started)
    assert (row["imported"], row["first"], row["spread"]) == (2.0, 5.0, 0.1)
    used = [{"after_import": 400.0, "after_build": 410.0, "peak": peak} for peak in (500.0, 600.0)]
    (row,) = rows.memory_rows(case, used)
    assert (row["peak_memory"], row["above_import"]) == (600.0, 200.0)
    times = {"load": 1.0, "batch_seconds": [0.1], "step_seconds": [0.5], "fed_seconds": [0.6]}
    (row,) = rows.data_rows(case, [times])
    assert row["data_images_per_second"] == 100 and row["step_images_per_second"] == 20
    assert (row["data_over_step"], row["fed_slowdown"]) == pytest.approx((5.0, 0.2))
    found = {"alone": [90.0, 110.0], "prepared": 95.0, "opened": 0.5, "first_batch": 1.0}
    found |= {"from_file": [[0.1], [0.2]], "from_memory": [[0.3], [0.4]], "peak": 700.0}
    (row,) = rows.prepared_rows(case, [found])
    assert (row["alone"], row["prepared_share"]) == (100.0, 0.95)
    assert (row["rows_file"], row["rows_memory"], row["peak_memory"]) == (0.1, 0.3, 700.0)
    assert (row["data_images_per_second"], row["memory_images_per_second"]) == (50.0, 25.0)
    single = {"clients": 8, "merging": False, "images": 4, "seconds": 2.0, "latencies": [1, 2, 3]}
    merged = single | {"merging": True, "seconds": 1.0, "batches": [1, 3]}
    timed = {"load": 1.0, "first_image": 2.0, "from_start": 3.0, "loads": [single, merged]}
    first, second = rows.serve_rows(case, [timed])
    assert (first["images_per_second"], first["rows_a_batch"]) == (2.0, 1.0)
    assert (second["images_per_second"], second["rows_a_batch"]) == (4.0, 2.0)
    assert (first["latency_median"], first["latency_p95"]) == (2, pytest.approx(2.9))


def test_table():
    columns = [("n", "n", str), ("t", "long title", "{:.1f}".format), ("absent", "absent", str)]
    assert report.table(columns, [{"n": 100, "t": 2.25}, {"n": 2, "t": None}]) == "\n".join(
        [
            "|   n | long title |",
            "|----:|-----------:|",
            "| 100 |        2.2 |",
            "|   2 |            |",
        ]
    )


def test_a_case_without_an_answer_is_said_and_not_tried_again(monkeypatch, tmp_path, capsys):
    tried = []

    def measure(module, config, onednn, **parameters):
        tried.append(config.batch_size)
        if config.batch_size == 8:
            raise children.DoesNotFit
        if config.batch_size == 16:
            raise UserError("no such operation")
        return {"after_import": 1.0, "after_build": 2.0, "peak": 3.0}

    monkeypatch.setattr(run, "measure", measure)
    flags = options.MemoryOptions(features="2", batch_sizes="4,8,16", repeats=2)
    results = json.loads(json.dumps(run.run("memory", flags)))
    assert tried == [4, 8, 16, 4]  # in turns
    notes = [case["note"] for case in results["cases"]]
    assert notes == ["", "does not fit in memory", "failed: no such operation"]
    text = report.show_results(results)
    assert all(note in text for note in notes)
    assert "| batch size |" in text and "--features=2" in text.splitlines()[0]
    # The others are kept, and the program says in the end that one failed.
    out = tmp_path / "results.json"
    command = ["run", "memory", "--features=2", "--batch_sizes=4,16", f"--out={out}"]
    with pytest.raises(UserError, match="^1 case could not be measured$"):
        run.main(command)
    assert [len(case["rows"]) for case in json.loads(out.read_text())["cases"]] == [1, 0]
    assert "no such operation" in capsys.readouterr().out


# Merged requests

PBTXT = """\
max_batch_size { value: 6 }
batch_timeout_micros { value: 20000 }
allowed_batch_sizes: 2
allowed_batch_sizes: 6
"""


def test_batching_parameters_are_those_of_the_export():
    from ncsn_tf.serving.assets import batching_parameters

    parameters = server.BatchingParameters.parse(PBTXT)
    assert parameters == server.BatchingParameters(6, 0.02, (2, 6))
    assert parameters.filled([1]) == [1, 1]
    assert parameters.filled([1, 2, 3]) == [1, 2, 3, 1, 1, 1]
    parsed = server.BatchingParameters.parse(batching_parameters(8, 32))
    assert parsed == server.BatchingParameters(32, 0.5, (8, 16, 32))


def test_a_merging_server_answers_each_with_its_own():
    seen = []

    def work(batch):
        seen.append(list(batch))
        return [10 * row for row in batch]

    merging = server.MergingServer(work, server.BatchingParameters.parse(PBTXT))
    answers = [merging.ask(row) for row in range(8)]
    assert [answer.result(10) for answer in answers] == [0, 10, 20, 30, 40, 50, 60, 70]
    merging.close()
    assert seen == [[0, 1, 2, 3, 4, 5], [6, 7]]
    assert merging.sizes == [6, 2]


@pytest.mark.parametrize("merge", [False, True])
def test_a_failure_reaches_the_client(merge):
    def work(batch):
        raise ValueError("broken")

    parameters = server.BatchingParameters.parse(PBTXT)
    each = server.MergingServer(work, parameters) if merge else server.SingleServer(work, 2)
    try:
        with pytest.raises(ValueError, match="broken"):
            server.load(each, 2, 0.0)
    finally:
        each.close()


def test_a_single_server_runs_no_more_at_once_than_it_may():
    lock, at_once, most = threading.Lock(), [0], [0]

    def work(batch):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.01)
        with lock:
            at_once[0] -= 1
        assert len(batch) == 1
        return batch

    single = server.SingleServer(work, 2)
    result = server.load(single, 5, 0.05)
    single.close()
    assert most[0] == 2
    assert result["images"] == len(result["latencies"]) >= 5
    assert result["seconds"] >= max(result["latencies"]) > 0.009


# Processes


def test_help_and_mistakes_need_no_tensorflow():
    block = "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    block += "sys.argv = sys.argv[1:]; runpy.run_module('benchmarks.run', run_name='__main__')"

    def start(*flags):
        command = [sys.executable, "-c", block, "run", *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    done = start("--help")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in run.OPTIONS)
    assert "--batch_sizes=TEXT" in start("train", "--help").stdout
    for flags, message in [
        (["trian"], "'trian' is not a measurement: train, sample,"),
        (["--repeats=2"], "--repeats=2 needs a measurement before it"),
        (["train", "--features=1"], "--features=1 must be at least 2"),
    ]:
        done = start(*flags)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_failed_process_is_one_line_and_memory_that_is_short_is_told_apart(monkeypatch):
    def ends_with(code, stderr="noise\nerror: the reason\n\t [[{{node}}]]\n"):
        done = subprocess.CompletedProcess([], code, "", stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
        return children.measure("memory", config())

    for code in (1, 2):
        with pytest.raises(UserError, match="^the reason$"):
            ends_with(code)
    with pytest.raises(UserError, match="^benchmarks.memory: exit code -11$"):
        ends_with(-11, "")
    for code in (3, -9):
        with pytest.raises(children.DoesNotFit):
            ends_with(code)


TINY = ["--features=2", "--image_size=8", "--channels=1"]


def start(name, folder, *flags):
    """Run a measurement as a program: standard output, standard error, the cases in its JSON."""
    out = folder / "made" / "results.json"
    command = [sys.executable, "-m", "benchmarks.run", name, *TINY, f"--out={out}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    return done.stdout, done.stderr, json.loads(out.read_text())["cases"]


@pytest.mark.slow
def test_a_measurement_from_end_to_end(tmp_path):
    stdout, stderr, (case,) = start("sample", tmp_path, "--batch_sizes=2", "--seconds=0.01")
    assert stderr.startswith("1/1 sample --model=ncsn --features=2 --batch_size=2")
    assert "| GEMM before |" in stdout
    assert case["config"]["features"] == 2
    (result,), (row,) = case["results"], case["rows"]
    assert min(result["gemm_before"], result["gemm_after"]) > 0
    for name in ("seconds", "step_seconds", "bare_seconds"):
        assert len(result[name]) >= 2
        assert min(result[name]) > 0
    assert result["gflop"] == 2 * operations.forward_gflop(NCSN((8, 8, 1), 2, 10))
    assert 100 < row["peak_memory"] < 10_000
    assert 0 < row["share"] < 1


def positive(value):
    """Whether all numbers in a value of JSON are above 0."""
    if isinstance(value, dict):
        return all(map(positive, value.values()))
    if isinstance(value, list):
        return bool(value) and all(map(positive, value))
    return isinstance(value, (bool, str)) or value > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, flags, num_rows",
    [
        ("convolutions", ["--batch_sizes=2", "--seconds=0.01"], [4]),
        ("train", ["--batch_sizes=2", "--ema_power=0.05,0.1", "--seconds=0.01"], [1, 1]),
        ("startup", ["--batch_sizes=2", "--num_virtual_devices=0", "--repeats=1"], [1, 1]),
        ("memory", ["--batch_sizes=2"], [1]),
        ("data", ["--batch_sizes=2", "--seconds=0.01", "--pictures=60"], [1, 1]),
        ("serve", ["--num_levels=2", "--clients=1,3", "--seconds=0.01"], [4]),
    ],
)
def test_every_other_measurement_from_end_to_end(
    name, flags, num_rows, command_server, monkeypatch, tmp_path, capsys
):
    """The program in this process; those that it starts are forks of one that has TensorFlow."""

    def fork(command, env, **_):
        assert command[:2] == [sys.executable, "-m"]
        argv = ["tests/benchmarks/tiny_module.py", *command[2:]]
        return command_server.run(argv, cwd=ROOT, env=env, timeout=900)

    monkeypatch.setattr(subprocess, "run", fork)
    out = tmp_path / "made" / "results.json"
    run.main(["run", name, *TINY, f"--out={out}", *flags])
    stdout, cases = capsys.readouterr().out, json.loads(out.read_text())["cases"]
    assert [len(case["rows"]) for case in cases] == num_rows
    assert all(positive(case["results"]) for case in cases)
    assert sum(line.startswith("|") for line in stdout.splitlines()) == 2 + sum(num_rows)
