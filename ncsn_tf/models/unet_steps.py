"""What a network of the third generation does, as a table: one row a step, in the order of work.

action      what it does                                            where
embed       the condition becomes a vector                          at the start
convolve    h = conv(x)
keep        h is put on the stack
join        h = [h, what was put on the stack last]                 on the way up
block       h = residual block(h, vector), or one that resamples
attend      h = attention(h)
resample    h = h at half or twice the size
take        h = h + features of the image, halved once more         progressive_input input_skip
merge       h = pyramid = gain (h + convolved pyramid, halved)      progressive_input residual
begin       pyramid = convolution of h, or image of h               progressive
draw        pyramid = image of h + pyramid, doubled                 progressive output_skip
grow        h = pyramid = gain (h + convolved pyramid, doubled)     progressive residual
finish      h = image of h                                          without output_skip
"""

import functools
from typing import NamedTuple

# How many modules of the released code an action is; none for those that are not here.
_MODULES = {
    **dict.fromkeys(("convolve", "block", "attend", "resample", "take", "merge", "grow"), 1),
    **dict.fromkeys(("begin", "draw", "finish"), 2),  # a normalisation and a convolution
}


class Step(NamedTuple):
    """One row of the table.

    Attributes:
        action: what is done.
        index: of the step's first module in the released code; it names the step's layer too.
        filters: channels of the step's result.
        resample: "none", "up" or "down".

    Example:
        >>> Step("block", 4, 128).name
        'block4'
    """

    action: str
    index: int
    filters: int = 0
    resample: str = "none"

    @property
    def name(self) -> str:
        """The name of the layer that does it."""
        return f"{self.action}{self.index}"

    @property
    def has_layer(self) -> bool:
        """Whether a layer does it."""
        return self.action in _MODULES or self.action == "embed"


@functools.cache
def unet_steps(
    width: int,
    channels: int,
    features: int,
    multipliers: tuple[int, ...],
    num_res_blocks: int,
    attention_sizes: tuple[int, ...],
    block: str = "biggan",
    progressive_input: str = "none",
    progressive: str = "none",
    progressive_combine: str = "sum",
    embedding_modules: int = 2,
) -> tuple[Step, ...]:
    """The steps of a network.

    Args:
        width: of the images, in pixels.
        channels: of the images.
        embedding_modules: of the released code, for the condition: the Fourier frequencies and two
            dense layers, as far as there are any.
        features, multipliers, num_res_blocks, attention_sizes, block, progressive_input,
        progressive, progressive_combine: see `NCSNpp`.

    Source: Song et al. 2021 (arXiv:2011.13456), appendix H; order of the released code.

    Example:
        >>> steps = unet_steps(8, 1, 4, (1, 2), 1, (4,))
        >>> " ".join(step.name for step in steps[:9])
        'embed0 convolve2 keep3 block3 keep4 block4 keep5 block5 attend6'
        >>> steps[5]
        Step(action='block', index=4, filters=4, resample='down')
    """
    steps, skips = [], []
    index = embedding_modules
    h = features

    def add(action, filters=None, resample="none"):
        nonlocal index, h
        filters = filters or h
        steps.append(Step(action, index, filters, resample))
        index += _MODULES.get(action, 0)
        if action not in ("begin", "draw", "finish"):  # those leave the features as they are
            h = filters

    def keep():
        add("keep")
        skips.append(h)

    def resample(direction):
        add("block" if block == "biggan" else "resample", resample=direction)

    steps.append(Step("embed", 0))
    add("convolve")
    keep()
    last = len(multipliers) - 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(num_res_blocks):
            add("block", features * multiplier)
            if width in attention_sizes:
                add("attend")
            keep()
        if level < last:
            width //= 2
            resample("down")
            if progressive_input == "input_skip":
                add("take", 2 * h if progressive_combine == "cat" else h)
            elif progressive_input == "residual":
                add("merge")
            keep()
    add("block")
    add("attend")
    add("block")
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for _ in range(num_res_blocks + 1):
            add("join", h + skips.pop())
            add("block", features * multiplier)
        if width in attention_sizes:
            add("attend")
        if progressive == "output_skip":
            add("begin" if level == last else "draw", channels)
        elif progressive == "residual":
            add("begin" if level == last else "grow")
        if level > 0:
            width *= 2
            resample("up")
    if progressive != "output_skip":
        add("finish", channels)
    return tuple(steps)
