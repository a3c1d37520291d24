"""Names that can be chosen, and limits, which settings and library both keep to. Spelled here once.

It imports nothing, so that `--help` shows them without TensorFlow.
"""

THIRD_MODELS = ("ncsnpp", "ddpmpp", "ddpm")
MODELS = ("ncsn", "ncsnv2", *THIRD_MODELS)
# What each depth of NCSNv2 needs images' sides to be multiples of: it halves them so often.
DEPTHS = {"base": 2, "deeper": 4, "deepest": 8}
# Of the third generation.
EQUATIONS = ("ve", "vp", "subvp")
EMBEDDINGS = ("fourier", "positional")
BLOCKS = ("biggan", "ddpm")
INPUT_PYRAMIDS = ("none", "input_skip", "residual")
PYRAMIDS = ("none", "output_skip", "residual")
COMBINATIONS = ("sum", "cat")
PRECISIONS = ("float32", "mixed_bfloat16")
EXPORT_WEIGHTS = ("float32", "float16")
OBJECTIVES = ("dsm", "ssm", "ssm_vr", "sm")
SAMPLERS = (
    *("ald", "cas", "pc", "ode"),
    *("euler", "ancestral", "heun", "dpm", "dpm_sde"),  # of few steps
)
SCHEDULES = ("karras", "geometric", "ladder")
PREDICTORS = ("reverse", "euler", "ancestral", "none")
CORRECTORS = ("ald", "langevin", "none")
DIVERGENCES = ("rademacher", "gaussian", "exact")
MASKS = ("left", "right", "top", "bottom", "center", "random")
SPACES = ("pixels", "features")
QUALITY_METRICS = ("fid", "kid", "is", "precision", "recall", "accuracy")

# The largest image, in numbers, on which the exact Jacobian's trace is taken: 16 x 16 grey pixels.
LARGEST_EXACT = 256
# Images in a request to a server, so that none can ask for unbounded time or memory.
MOST_ROWS = 16_384
