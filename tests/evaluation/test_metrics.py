"""Metrics against closed forms, brute force and chance."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from ncsn_tf.evaluation.metrics import (
    FeatureSums,
    classification_accuracy,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)


def draw(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape)


def covariance(seed, dimension, rank=None):
    root = draw(seed, dimension, rank or dimension)
    return root @ root.T / dimension


def test_frechet_distance_of_commuting_gaussians():
    """|mu1 - mu2|^2 + sum (s1 - s2)^2 for covariances with the same axes."""
    axes = scipy.stats.ortho_group.rvs(6, random_state=0)
    deviations = np.abs(draw(1, 2, 6)) + 0.1
    first, second = (axes * deviation**2 @ axes.T for deviation in deviations)
    mu = draw(2, 6)
    expected = mu @ mu + np.sum((deviations[0] - deviations[1]) ** 2)
    assert frechet_distance(mu, first, 0 * mu, second) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_by_the_matrix_root():
    first, second = covariance(0, 20), covariance(1, 20)
    mean = draw(2, 20)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = mean @ mean + np.trace(first + second - 2 * root)
    assert frechet_distance(0 * mean, first, mean, second) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rank", [0, 1, 5, 30])
def test_frechet_distance_of_equal_moments_is_zero(rank):
    """Of singular covariances too: those of fewer samples than dimensions, and of one point."""
    sigma = covariance(0, 30, rank) if rank else np.zeros([30, 30])
    assert 0 <= frechet_distance(draw(1, 30), sigma, draw(1, 30), sigma) < 1e-12


def test_frechet_distance_of_a_singular_and_a_full_covariance():
    """tr (S1 S2)^(1/2) = s v^T S2 v ... for S1 = v v^T: the root of v^T S2 v."""
    v, full = draw(0, 9), covariance(1, 9)
    expected = v @ v + np.trace(full) - 2 * np.sqrt(v @ full @ v)
    zero = np.zeros(9)
    assert frechet_distance(zero, np.outer(v, v), zero, full) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_tiny_covariances_keeps_its_digits():
    scale = 1e-12
    first, second = covariance(0, 8), covariance(1, 8)
    zero = np.zeros(8)
    expected = scale * frechet_distance(zero, first, zero, second)
    tiny = frechet_distance(zero, scale * first, zero, scale * second)
    assert tiny == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "moments, message",
    [
        (([0.0], [[1.0]], [0.0, 0.0], np.eye(2)), "means must be"),
        (([0.0], np.eye(2), [0.0], [[1.0]]), "a covariance must be"),
        (([np.nan], [[1.0]], [0.0], [[1.0]]), "finite"),
        (([0.0], [[np.inf]], [0.0], [[1.0]]), "finite"),
        (([0.0] * 2, [[1, 2], [0, 1]], [0.0] * 2, np.eye(2)), "symmetric"),
        (([0.0], [[-1.0]], [0.0], [[1.0]]), "below zero"),
    ],
)
def test_moments_that_are_none(moments, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(*moments)


def test_sums_of_any_shards_are_those_of_the_whole():
    features = draw(0, 101, 7) + 3
    whole = FeatureSums(7).add(features)
    np.testing.assert_allclose(whole.mean, features.mean(0), rtol=1e-13)
    np.testing.assert_allclose(whole.covariance, np.cov(features.T), rtol=1e-10, atol=1e-12)
    for cuts in ([50], [1, 2, 90], list(range(1, 101))):
        shards = [FeatureSums(7).add(part) for part in np.split(features, cuts)]
        total = sum(shards[1:], shards[0])
        assert total.count == 101
        np.testing.assert_allclose(total.covariance, whole.covariance, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="at least 2 feature vectors are needed, not 1"):
        FeatureSums(7).add(features[:1]).covariance  # noqa: B018
    with pytest.raises(ValueError, match="at least 1 feature vectors are needed, not 0"):
        FeatureSums(7).mean  # noqa: B018


def brute_kernel_distance(x, y):
    """The formula, pair by pair."""

    def kernel(a, b):
        return (np.dot(a, b) / len(a) + 1) ** 3

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return within_x + within_y - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_kernel_distance_pair_by_pair(monkeypatch):
    x, y = draw(0, 9, 4), draw(1, 7, 4) + 1
    expected = brute_kernel_distance(x, y)
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-12)
    from ncsn_tf.evaluation.metrics import kernel

    monkeypatch.setattr(kernel, "_TILE", 4)
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased_and_knows_its_error():
    """0 in expectation for one distribution; for two, the error is that of repetitions."""
    same, other = [], []
    for seed in range(200):
        x, y = draw(2 * seed, 60, 3), draw(2 * seed + 1, 80, 3)
        same.append(kernel_distance(x, y))
        other.append(kernel_distance(x, y + 0.8))
    values, errors = np.array(same).T
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert 0.4 < values.std() / errors.mean() < 1.1  # on the safe side
    values, errors = np.array(other).T
    assert 0.85 < values.std() / errors.mean() < 1.15
    # The closed form, from E (a . b / 3 + 1)^3 = 1 + 3 E t + 3 E t^2 + E t^3 of normal a and b.
    assert abs(values.mean() - shifted(0.8)) < 4 * values.std() / np.sqrt(200)


def shifted(shift, dimension=3):
    """MMD^2 of N(0, 1) and N(shift, 1), by moments of t = a . b / D up to the third."""

    def expected(mean_a, mean_b):
        # E t = m, E t^2 and E t^3 of independent coordinates t_i = a_i b_i.
        first, second = mean_a * mean_b, (1 + mean_a**2) * (1 + mean_b**2)
        third = (mean_a**3 + 3 * mean_a) * (mean_b**3 + 3 * mean_b)
        n = dimension
        t1 = n * first
        t2 = n * second + n * (n - 1) * first**2
        t3 = n * third + 3 * n * (n - 1) * second * first + n * (n - 1) * (n - 2) * first**3
        return 1 + 3 * t1 / n + 3 * t2 / n**2 + t3 / n**3

    return expected(0, 0) + expected(shift, shift) - 2 * expected(0, shift)


def test_kernel_distance_of_subsets():
    x, y = draw(0, 300, 5), draw(1, 400, 5) + 0.5
    whole = kernel_distance(x, y)
    subsets = kernel_distance(x, y, subset_size=100, num_subsets=50)
    assert abs(subsets.value - whole.value) < 4 * subsets.spread
    assert subsets == kernel_distance(x, y, subset_size=100, num_subsets=50)
    assert subsets != kernel_distance(x, y, subset_size=100, num_subsets=50, seed=1)
    all_of_them = kernel_distance(x, y[:300], subset_size=300, num_subsets=2)
    assert all_of_them.value == pytest.approx(kernel_distance(x, y[:300]).value, rel=1e-12)


def test_inception_score_of_mixtures():
    """Rows that are sure of K classes, equally many: K. Rows that all say the same: 1."""
    assert inception_score(np.full([30, 7], 1 / 7), 3) == pytest.approx((1.0, 0.0), abs=1e-12)
    sure = np.eye(5)[np.arange(50) % 5]
    assert inception_score(sure, 5) == pytest.approx((5.0, 0.0), abs=1e-12)
    half = 0.5 * sure + 0.5 / 5  # H(p(y)) - H(p(y | x))
    expected = np.exp(np.log(5) + 0.6 * np.log(0.6) + 4 * 0.1 * np.log(0.1))
    assert inception_score(half, 5).value == pytest.approx(expected, rel=1e-12)


def test_inception_score_is_that_of_parts_that_follow_one_another():
    probabilities = np.random.RandomState(0).dirichlet(np.ones(4), size=20)
    scores = [inception_score(part, 1).value for part in np.split(probabilities, 4)]
    expected = (np.mean(scores), np.std(scores))
    assert inception_score(probabilities, 4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "probabilities, splits, message",
    [
        (np.ones([3, 2]), 1, "add up to 1"),
        (np.array([[1.5, -0.5]]), 1, "at least 0"),
        (np.eye(3), 4, "splits must be from 1 to the 3 images, not 4"),
        (np.ones(3), 1, r"must be \[N, D\]"),
    ],
)
def test_probabilities_that_are_none(probabilities, splits, message):
    with pytest.raises(ValueError, match=message):
        inception_score(probabilities, splits)


def brute_share(points, centres, k):
    inside = 0
    for point in points:
        for centre in centres:
            radius = np.sort(np.linalg.norm(centres - centre, axis=1))[k]  # 0 is itself
            if np.linalg.norm(point - centre) <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_ball_by_ball(k):
    real, generated = draw(0, 40, 3), 0.6 * draw(1, 30, 3) + 0.5
    precision, recall = precision_recall(real, generated, k)
    assert precision == brute_share(generated, real, k)
    assert recall == brute_share(real, generated, k)
    assert 0 < recall < precision


def test_precision_and_recall_at_their_ends():
    real = draw(0, 50, 4)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 100) == (0.0, 0.0)
    collapsed = real[:1] + 1e-3 * draw(1, 20, 4)  # precise, and nothing else is covered
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1.0 and recall <= 1 / 50


def test_precision_and_recall_of_copies_and_far_from_the_origin():
    copies = np.repeat(draw(0, 20, 64), 10, axis=0)  # all radii are 0
    assert precision_recall(copies, copies) == (1.0, 1.0)
    assert precision_recall(copies + 1e6, copies + 1e6) == (1.0, 1.0)
    real, generated = draw(0, 40, 3), 0.6 * draw(1, 30, 3) + 0.5
    assert precision_recall(real + 1e6, generated + 1e6) == precision_recall(real, generated)


def test_sums_of_features_with_a_large_mean():
    rows = np.full([1000, 5], 12345.678) * np.arange(1, 6)
    sums = FeatureSums(5).add(rows[:300]) + FeatureSums(5) + FeatureSums(5).add(rows[300:])
    assert not sums.covariance.any()
    np.testing.assert_array_equal(sums.mean, rows[0])
    assert frechet_distance(sums.mean, sums.covariance, sums.mean, sums.covariance) == 0
    features = 1e7 + draw(0, 60, 5)
    parts = FeatureSums(5) + FeatureSums(5).add(features[:20]) + FeatureSums(5).add(features[20:])
    np.testing.assert_allclose(parts.covariance, np.cov(features.T), rtol=1e-7)


def test_sums_of_other_features_are_refused_and_change_nothing():
    sums = FeatureSums(5).add(draw(0, 9, 5))
    for wrong in (lambda: sums.add(draw(0, 9, 1)), lambda: sums + FeatureSums(1)):
        with pytest.raises(ValueError, match="must be .N, 5., not .N, 1."):
            wrong()
    assert sums.count == 9


def test_precision_and_recall_do_not_depend_on_memory():
    """In float32 too, and with far more pairs than a chunk of distances has."""
    import sklearn

    real, generated = draw(0, 300, 8), draw(1, 200, 8)
    whole = precision_recall(real, generated)
    with sklearn.config_context(working_memory=0.01):
        assert precision_recall(real, generated) == whole
    assert precision_recall(real.astype("f4"), generated.astype("f4")) == whole


@pytest.mark.parametrize(
    "function, arrays",
    [
        (kernel_distance, ([[1.0]], [[1.0], [2.0]])),
        (kernel_distance, ([[1.0], [2.0]], [[1.0, 2.0], [2.0, 1.0]])),
        (kernel_distance, ([[1.0], [np.nan]], [[1.0], [2.0]])),
        (precision_recall, (np.ones([3, 1]), np.ones([9, 1]))),
        (precision_recall, (np.ones([9, 2]), np.ones([9, 1]))),
        (precision_recall, (np.ones([9, 2]), np.ones([9, 2]), 0)),
        (lambda x, size: kernel_distance(x, x, size), (np.ones([9, 2]), 10)),
        (lambda x, size: kernel_distance(x, x, size, 1), (np.ones([9, 2]), 5)),
    ],
)
def test_features_that_cannot_be_compared(function, arrays):
    with pytest.raises(ValueError) as error:
        function(*arrays)
    assert "\n" not in str(error.value)


def test_accuracy_is_a_binomial_share():
    """Of a classifier that is sure, right for 45 of 60 images; and of one that knows nothing."""
    labels = np.arange(60) % 3
    seen = np.where(np.arange(60) < 45, labels, (labels + 1) % 3)
    found = classification_accuracy(np.eye(3)[seen], labels)
    assert found == pytest.approx((0.75, np.sqrt(0.75 * 0.25 / 60)), rel=1e-15)
    # Who always says the first class, also of equals, is right for its share.
    assert classification_accuracy(np.full([60, 3], 1 / 3), labels).value == 1 / 3
    assert classification_accuracy(np.eye(3)[labels], labels) == (1.0, 0.0)


def test_the_error_of_accuracy_is_that_of_repetitions():
    right = np.random.RandomState(0).random((300, 400)) < 0.9
    asked = np.ones(400, int)
    shares = [classification_accuracy(np.eye(2)[row.astype(int)], asked) for row in right]
    values, errors = np.transpose(shares)
    assert values.std() == pytest.approx(errors.mean(), rel=0.15)


@pytest.mark.parametrize(
    "probabilities, labels, message",
    [
        (np.eye(2), [0], r"labels must be whole numbers \[2\], one an image, not int64 \[1\]"),
        (np.eye(2), [0.0, 1.0], "labels must be whole numbers"),
        (np.eye(2), [0, 2], "labels must be from 0 to 1, the classes of probabilities"),
        (np.eye(2), [-1, 0], "labels must be from 0 to 1"),
        (np.zeros([0, 2]), np.zeros(0, int), "probabilities must have at least 1 rows"),
    ],
)
def test_what_has_no_accuracy(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_accuracy(probabilities, labels)
