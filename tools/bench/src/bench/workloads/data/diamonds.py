"""Prices of 53,940 diamonds, which plotnine carries as a file (read, never imported)."""

import csv
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.workloads.data.source import Source
from bench.workloads.data.splits import Split, refuse_equal_rows

FILE = "data/diamonds.csv"
SOURCE = Source(
    id="diamonds",
    module="plotnine",
    package="plotnine==0.15.9",
    checksums={FILE: "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4"},
    about="53,794 different diamonds: carat, cut, color, clarity, measures and price; 80 / 10 / 10",
)
NUMBERS = ("carat", "depth", "table", "x", "y", "z")
CLASSES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": tuple("DEFGHIJ"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}


@cache
def load() -> tuple[NDArray[np.float32], NDArray[np.float32], Split]:
    """Features (n, 26) standardised on the training part, natural log of the price (n,), and one fixed split.

    Rows that repeat another one (146 of them) are dropped, so that no diamond is in two parts.
    """
    lines = SOURCE.read(FILE).decode("utf-8").splitlines()
    rows = list(csv.DictReader(io.StringIO("\n".join([lines[0], *dict.fromkeys(lines[1:])]))))
    columns = [np.array([float(row[name]) for row in rows], np.float32) for name in NUMBERS]
    for name, values in CLASSES.items():
        columns += [np.array([row[name] == value for row in rows], np.float32) for value in values]
    features = np.stack(columns, axis=1)
    price = np.log(np.array([float(row["price"]) for row in rows], np.float32))
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(rows))
    train, validation, test = np.split(order, [int(0.8 * len(rows)), int(0.9 * len(rows))])
    split = Split(train, validation, test)
    refuse_equal_rows(split, np.column_stack([features, price]))
    numeric = slice(0, len(NUMBERS))
    mean, deviation = features[train, numeric].mean(axis=0), features[train, numeric].std(axis=0)
    features[:, numeric] = (features[:, numeric] - mean) / deviation
    return features, price, split
