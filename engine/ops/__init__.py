"""Every op, a file for each family. Importing this package fills the registry."""

from engine.graph.primitive import require_traits
from engine.ops import creation
from engine.ops.elementwise import arithmetic, comparison, exponential, hyperbolic, power, special, trigonometric
from engine.ops.elementwise import selection as choice
from engine.ops.indexing import embedding, joining, padding, slicing
from engine.ops.indexing import gather as indexing
from engine.ops.indexing import scatter as scattering
from engine.ops.linalg import addmm, chains, determinants, einsum, matmul, matrix_norms, svd, triangular
from engine.ops.linalg import solve as linalg
from engine.ops.loss import binary as binary_loss
from engine.ops.loss import classification, divergence
from engine.ops.loss import likelihood as likelihood_loss
from engine.ops.loss import margin as margin_loss
from engine.ops.loss import regression as loss
from engine.ops.nn import attention, normalization, similarity, smooth_activation, softmax
from engine.ops.nn import linear as affine
from engine.ops.nn import piecewise_activation as activation
from engine.ops.random import distributions as random
from engine.ops.reduction import cumulative, extrema, medians, moments
from engine.ops.reduction import sums as reduction
from engine.ops.reduction import vector_norms as norms
from engine.ops.shape import diagonals, expansion, movement, rotation
from engine.ops.windows import adaptive_pooling, avg_pooling, conv, conv_transpose, max_pooling, unfolding

__all__ = [
    "activation",
    "adaptive_pooling",
    "addmm",
    "affine",
    "arithmetic",
    "attention",
    "avg_pooling",
    "binary_loss",
    "chains",
    "choice",
    "classification",
    "comparison",
    "conv",
    "conv_transpose",
    "creation",
    "cumulative",
    "determinants",
    "diagonals",
    "divergence",
    "einsum",
    "embedding",
    "expansion",
    "exponential",
    "extrema",
    "hyperbolic",
    "indexing",
    "joining",
    "likelihood_loss",
    "linalg",
    "loss",
    "margin_loss",
    "matmul",
    "matrix_norms",
    "max_pooling",
    "medians",
    "moments",
    "movement",
    "normalization",
    "norms",
    "padding",
    "power",
    "random",
    "reduction",
    "rotation",
    "scattering",
    "similarity",
    "slicing",
    "smooth_activation",
    "softmax",
    "special",
    "svd",
    "triangular",
    "trigonometric",
    "unfolding",
]

require_traits()
