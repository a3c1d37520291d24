"""NCSN++ in PyTorch, eager, as a mark to compare with: a function of the reference's parameters."""

import math

import torch
from torch.nn import functional

from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.reference_weights import reference_shapes


class PyTorchNCSNpp(torch.nn.Module):
    """The network of an `ncsn_tf.NCSNpp` on [B, C, H, W], written as a PyTorch user would.

    Of NCSN++ and DDPM++: blocks of kind "biggan", no output pyramid, at most a residual one at the
    input.

    Args:
        network: whose table of steps it follows.
        arrays: {reference parameter name: array}, as in `models.reference_weights`.
    """

    def __init__(self, network: NCSNpp, arrays: dict):
        super().__init__()
        self.steps = network.steps
        self.fourier = network.embedding == "fourier"
        self.fir, self.centered = network.fir, network.centered
        self.scale_by_sigma = network.scale_by_sigma
        self.dropout = network.dropout
        self.names = {name: name.replace(".", "/") for name in arrays}
        self.values = torch.nn.ParameterDict(
            {
                self.names[name]: torch.nn.Parameter(
                    torch.as_tensor(array), requires_grad=name != "all_modules.0.W"
                )
                for name, array in arrays.items()
            }
        )
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("filter", torch.outer(taps, taps)[None, None])

    def _value(self, name):
        return self.values[self.names[name]]

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        first = 0
        features = self._value("all_modules.2.weight").shape[0] if not self.fourier else None
        if self.fourier:
            angle = torch.log(condition)[:, None] * self._value("all_modules.0.W") * 2 * math.pi
            first = 1
        else:
            half = features // 2
            exponents = torch.arange(half) * -(math.log(10000) / (half - 1))
            angle = condition[:, None] * torch.exp(exponents)
        vector = torch.cat([torch.sin(angle), torch.cos(angle)], 1)
        vector = self._linear(f"all_modules.{first}", vector)
        vector = self._linear(f"all_modules.{first + 1}", functional.silu(vector))
        h = pyramid = x if self.centered else 2 * x - 1
        stack = []
        for step in self.steps:
            name = f"all_modules.{step.index}"
            if step.action == "convolve":
                h = self._convolution(name, h)
            elif step.action == "keep":
                stack.append(h)
            elif step.action == "join":
                h = torch.cat([h, stack.pop()], 1)
            elif step.action == "block":
                h = self._block(name, h, vector, step.resample)
            elif step.action == "attend":
                h = self._attention(name, h)
            elif step.action == "merge":
                pyramid = self._filtered(pyramid, (2, 2))
                pyramid = self._convolution(f"{name}.Conv2d_0", pyramid, stride=2, padding=0)
                h = pyramid = (pyramid + h) / math.sqrt(2)
            elif step.action == "finish":
                h = functional.silu(self._norm(name, h))
                h = self._convolution(f"all_modules.{step.index + 1}", h)
        return h / condition[:, None, None, None] if self.scale_by_sigma else h

    def _linear(self, name, x):
        return functional.linear(x, self._value(f"{name}.weight"), self._value(f"{name}.bias"))

    def _convolution(self, name, x, stride=1, padding=None):
        weight = self._value(f"{name}.weight")
        padding = weight.shape[-1] // 2 if padding is None else padding
        return functional.conv2d(
            x, weight, self._value(f"{name}.bias"), stride=stride, padding=padding
        )

    def _norm(self, name, x):
        weight, bias = self._value(f"{name}.weight"), self._value(f"{name}.bias")
        return functional.group_norm(x, min(x.shape[1] // 4, 32), weight, bias, 1e-6)

    def _filtered(self, x, padding, stride=1):
        """Every channel alone: images of one channel, for a convolution of groups is slower."""
        batch, channels, height, width = x.shape
        x = functional.pad(x.reshape(-1, 1, height, width), padding * 2)
        x = functional.conv2d(x, self.filter, stride=stride)
        return x.reshape(batch, channels, *x.shape[2:])

    def _resampled(self, x, resample):
        if resample == "down":
            return self._filtered(x, (1, 1), 2) if self.fir else functional.avg_pool2d(x, 2)
        if not self.fir:
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        batch, channels, height, width = x.shape
        y = functional.conv_transpose2d(
            x.reshape(-1, 1, height, width), 4 * self.filter, stride=2, padding=1
        )
        return y.reshape(batch, channels, 2 * height, 2 * width)

    def _block(self, name, x, vector, resample):
        h = functional.silu(self._norm(f"{name}.GroupNorm_0", x))
        if resample != "none":
            h, x = self._resampled(h, resample), self._resampled(x, resample)
        h = self._convolution(f"{name}.Conv_0", h)
        h = h + self._linear(f"{name}.Dense_0", functional.silu(vector))[:, :, None, None]
        h = functional.silu(self._norm(f"{name}.GroupNorm_1", h))
        if self.dropout and self.training:
            h = functional.dropout(h, self.dropout)
        h = self._convolution(f"{name}.Conv_1", h)
        if f"{name}.Conv_2.weight" in self.names:
            x = self._convolution(f"{name}.Conv_2", x)
        return (x + h) / math.sqrt(2)

    def _attention(self, name, x):
        h = self._norm(f"{name}.GroupNorm_0", x).flatten(2)  # [B, C, H W]

        def product(index, h):
            weight, bias = (self._value(f"{name}.NIN_{index}.{part}") for part in "Wb")
            return weight.T @ h + bias[:, None]

        q, k, v = (product(index, h) for index in range(3))
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(x.shape[1]), -1)
        h = product(3, v @ weights.transpose(1, 2)).reshape(x.shape)
        return (x + h) / math.sqrt(2)


def unet_parameters_like(network: NCSNpp, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Fresh parameters for `PyTorchNCSNpp`, of the shapes of an `ncsn_tf.NCSNpp`."""
    arrays = {}
    for name, shape in reference_shapes(network).items():
        if name == "all_modules.0.W":  # of the Fourier embedding
            arrays[name] = 16 * torch.randn(shape, generator=generator)
        elif len(shape) == 1:
            arrays[name] = torch.full(shape, float(name.endswith("weight")))
        else:
            inputs = shape[0] if name.endswith("W") else math.prod(shape[1:])
            uniform = 2 * torch.rand(shape, generator=generator) - 1
            arrays[name] = uniform / math.sqrt(inputs)
    return arrays
