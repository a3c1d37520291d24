"""NCSN in PyTorch, eager, as a mark to compare with: a function of the reference's parameters."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional


class PyTorchNCSN(torch.nn.Module):
    """The network of `ncsn_tf.NCSN` on [B, C, H, W], written as a PyTorch user would.

    Args:
        arrays: {reference parameter name: array}, as in `models.reference_weights`.
    """

    def __init__(self, arrays):
        super().__init__()
        self.names = {name: name.replace(".", "/") for name in arrays}
        self.values = torch.nn.ParameterDict(
            {self.names[name]: torch.nn.Parameter(torch.as_tensor(a)) for name, a in arrays.items()}
        )

    def forward(self, x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        h = self._convolution("begin_conv", 2 * x - 1)
        layers = []
        for stage, dilation in ((1, 1), (2, 1), (3, 2), (4, 4)):
            h = self._residual(f"res{stage}.0", h, levels, dilation, first=stage > 1)
            h = self._residual(f"res{stage}.1", h, levels, dilation)
            layers.append(h)
        refined = []
        for number, layer in enumerate(reversed(layers), 1):
            refined = [self._refine(f"refine{number}", [layer, *refined], levels, number == 4)]
        return self._convolution(
            "end_conv", functional.elu(self._norm("normalizer", refined[0], levels))
        )

    def _norm(self, name, x, levels):
        table = self.values[self.names[f"{name}.embed.weight"]]
        gamma, alpha, beta = functional.embedding(levels, table).chunk(3, 1)
        means = x.mean((2, 3))
        centred = means - means.mean(1, keepdim=True)
        means_hat = centred / torch.sqrt(means.var(1, keepdim=True) + 1e-5)
        h = functional.instance_norm(x) + (alpha * means_hat)[..., None, None]
        return gamma[..., None, None] * h + beta[..., None, None]

    def _convolution(self, name, x, dilation=1):
        weight = self.values[self.names[f"{name}.weight"]]
        bias = self.names.get(f"{name}.bias")
        return functional.conv2d(
            x,
            weight,
            None if bias is None else self.values[bias],
            padding=dilation * (weight.shape[-1] // 2),
            dilation=dilation,
        )

    def _residual(self, name, x, levels, dilation, first=False):
        pools = first and dilation == 1
        part = ".conv" if pools else ""
        h = functional.elu(self._norm(f"{name}.normalize1", x, levels))
        h = self._convolution(f"{name}.conv1", h, dilation)
        h = functional.elu(self._norm(f"{name}.normalize2", h, levels))
        h = self._convolution(f"{name}.conv2{part}", h, dilation)
        if first:
            x = self._convolution(f"{name}.shortcut{part}", x, dilation)
        if pools:
            h, x = functional.avg_pool2d(h, 2), functional.avg_pool2d(x, 2)
        return x + h

    def _units(self, name, x, levels, count):
        for unit in range(1, count + 1):
            h = x
            for stage in (1, 2):
                h = functional.elu(self._norm(f"{name}.{unit}_{stage}_norm", h, levels))
                h = self._convolution(f"{name}.{unit}_{stage}_conv", h)
            x = x + h
        return x

    def _refine(self, name, inputs, levels, last):
        inputs = [
            self._units(f"{name}.adapt_convs.{i}", x, levels, 2) for i, x in enumerate(inputs)
        ]
        x = inputs[0]
        if len(inputs) > 1:
            size = x.shape[2:]
            paths = [
                self._convolution(
                    f"{name}.msf.convs.{i}", self._norm(f"{name}.msf.norms.{i}", h, levels)
                )
                for i, h in enumerate(inputs)
            ]
            x = sum(
                functional.interpolate(h, size, mode="bilinear", align_corners=True) for h in paths
            )
        x = path = functional.elu(x)
        for i in range(2):
            path = self._norm(f"{name}.crp.norms.{i}", path, levels)
            path = self._convolution(f"{name}.crp.convs.{i}", functional.avg_pool2d(path, 5, 1, 2))
            x = x + path
        return self._units(f"{name}.output_convs", x, levels, 3 if last else 1)


def parameters_like(network: Callable, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Fresh parameters for `PyTorchNCSN`, of the shapes of an `ncsn_tf.NCSN`."""
    from ncsn_tf.models.reference_weights import reference_shapes

    arrays = {}
    for name, shape in reference_shapes(network).items():
        if name.endswith("embed.weight"):
            arrays[name] = torch.ones(shape)
            arrays[name][:, 2 * shape[1] // 3 :] = 0.0
        else:
            bound = 1 / math.sqrt(math.prod(shape[1:]) or 1)
            arrays[name] = (2 * torch.rand(shape, generator=generator) - 1) * bound
    return arrays
