"""Adam as the reference uses it, and the optimizers of Keras and TensorFlow Addons by name."""

import difflib
import inspect

import keras
import tensorflow as tf

from ncsn_tf.backend.compat_optimizers import adam_moments, import_addons
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config

ADDONS = "Addons>"
# Keras optimizers that treat every weight alike: for these all weights can be one vector.
_ELEMENTWISE = {
    *("Adam", "AdamW", "Adamax", "Nadam", "SGD", "RMSprop"),
    *("Adagrad", "Adadelta", "Lion", "Ftrl"),
}


@keras.saving.register_keras_serializable("ncsn_tf")
class Adam(keras.optimizers.Adam):
    """Adam with epsilon where the paper's main algorithm and PyTorch have it.

        theta <- theta - lr * m_hat / (sqrt(v_hat) + epsilon)

    Keras adds epsilon to sqrt(v) before the correction of v's bias, which makes it up to 31 times
    larger in the first steps; here epsilon shrinks with the same factor sqrt(1 - beta_2^t), so that
    both forms agree. The update is one operation, which reads and writes each number once; Keras
    writes it as a dozen.

    Source: Kingma & Ba 2015 (arXiv:1412.6980), Algorithm 1.
    """

    @property
    def epsilon(self) -> tf.Tensor:
        step = tf.cast(self.iterations, tf.float32) + 1.0
        return self._epsilon * tf.sqrt(1.0 - tf.pow(tf.cast(self.beta_2, tf.float32), step))

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        self._epsilon = value

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: tf.Tensor | None = None,
    ) -> None:
        """Move a variable along its gradient. (Keras 2 does not pass the learning rate.)"""
        rate = self.learning_rate if learning_rate is None else learning_rate
        if self.amsgrad:
            return super().update_step(
                gradient, variable, *([] if learning_rate is None else [rate])
            )
        first, second = adam_moments(self, variable)
        step = tf.cast(self.iterations, tf.float32) + 1.0
        beta_1, beta_2 = (tf.cast(beta, tf.float32) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(rate, tf.float32),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self._epsilon}


def make_optimizer(config: Config) -> tuple[keras.optimizers.Optimizer, bool]:
    """The optimizer that `config.optimizer` names, with the config's settings.

    That is its step size, and beta_1, beta_2 and epsilon where the optimizer has them.

    Returns:
        (optimizer, whether it is element-wise and so may be given all weights as one vector).

    Raises:
        ConfigError: no optimizer of that name, or one of TensorFlow Addons without that package.

    Example:
        >>> optimizer, is_elementwise = make_optimizer(Config(optimizer="SGD", learning_rate=0.5))
        >>> type(optimizer).__name__, float(optimizer.learning_rate), is_elementwise
        ('SGD', 0.5, True)
    """
    kind = Adam if config.optimizer == "Adam" else _optimizer_class(config.optimizer)
    accepted = inspect.signature(kind.__init__).parameters
    settings = {
        "learning_rate": config.learning_rate,
        "beta_1": config.adam_beta_1,
        "beta_2": config.adam_beta_2,
        "epsilon": config.adam_epsilon,
    }
    optimizer = kind(**{name: value for name, value in settings.items() if name in accepted})
    return optimizer, config.optimizer in _ELEMENTWISE


def warmed_up(learning_rate: float, step: tf.Tensor, warmup: int) -> tf.Tensor:
    """The step size of an update: learning_rate min(step / warmup, 1).

    Args:
        learning_rate: that of the end.
        step: updates before this one, so that the first has none: it moves no weight, though the
            optimizer's moments and the average's counter go on.
        warmup: updates until the end is reached; 0 begins there.

    Source: the released code of Song et al. 2021 (arXiv:2011.13456).

    Example:
        >>> [round(float(warmed_up(2e-4, tf.constant(step), 2)), 6) for step in range(4)]
        [0.0, 0.0001, 0.0002, 0.0002]
    """
    if not warmup:
        return tf.constant(learning_rate, tf.float32)
    return learning_rate * tf.minimum(tf.cast(step, tf.float32) / warmup, 1.0)


def clip_share(norm: tf.Tensor, limit: float) -> tf.Tensor:
    """What a gradient is multiplied with for its norm to be at most `limit`.

        min(1, limit / (norm + 1e-6))

    Args:
        norm: of the whole gradient, a scalar.
        limit: positive.

    Source: PyTorch's `clip_grad_norm_`.

    Example:
        >>> [float(clip_share(tf.constant(norm), 1.0)) for norm in (0.5, 2.0 - 1e-6)]
        [1.0, 0.5]
    """
    return tf.minimum(1.0, limit / (norm + 1e-6))


def _optimizer_class(name):
    if name.startswith(ADDONS):
        addons = import_addons()
        if addons is None:
            raise ConfigError(
                f"--optimizer={name} needs TensorFlow Addons, which has a package set of its own: "
                "requirements-addons.txt (Python 3.10 or 3.11)"
            )
        names = [ADDONS + known for known in _optimizers_in(addons.optimizers)]
        kind = keras.saving.get_registered_object(name) if name in names else None
    else:
        names = _optimizers_in(keras.optimizers)
        kind = getattr(keras.optimizers, name) if name in names else None
    if kind is None:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
        raise ConfigError(f"--optimizer={name} is not an optimizer; {hint}")
    return kind


def _optimizers_in(module):
    """Names of the optimizers in a module that can be made from a step size alone."""
    return sorted(
        name
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and hasattr(kind, "apply_gradients") and _takes_step_size(kind)
    )


def _takes_step_size(kind):
    signature = inspect.signature(kind.__init__)
    try:
        signature.bind(None, learning_rate=1.0)
    except TypeError:  # it needs more, such as another optimizer
        return False
    return "learning_rate" in signature.parameters
