"""Members as folders that PEFT and servers with LoRA load: factors, and a configuration that gives them scale 1.

A matrix goes as LoRA factors, each with a rank of its own where a small side clips it; the bias of such a module as the
bias of its second factor; everything else, norms as a rule, as a saved copy of its module.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..population import MemberSpec

if TYPE_CHECKING:
    from ..es import TorchEggrollES

_PREFIX = "base_model.model."


class _Adapter(NamedTuple):
    tensors: dict[str, Tensor]
    ranks: dict[str, int]  # of the adapted modules, by path
    saved: list[str]  # modules that go in full
    biased: bool  # whether factors carry biases


def adapters(
    es: "TorchEggrollES", path: str | Path, members: Sequence[int | MemberSpec] | None, base_model: str | None
) -> Iterator[tuple[MemberSpec, Path]]:
    """Writes members and yields each one's folder; see `TorchEggrollES.adapters`."""
    specs = [m if isinstance(m, MemberSpec) else MemberSpec(es.seed, es.epoch, m)
             for m in (es.own_members if members is None else members)]  # fmt: skip
    for spec in specs:
        folder = Path(path) / f"epoch-{spec.epoch}-member-{spec.member}"
        folder.mkdir(parents=True, exist_ok=True)
        adapter = _adapter(es.model, es.export_lora(spec))
        text = json.dumps(configuration(es.model, adapter, base_model), indent=2, sort_keys=True)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        _write({name: t.detach().cpu().contiguous() for name, t in adapter.tensors.items()}, folder)
        yield spec, folder


def _adapter(model: nn.Module, exported: dict[str, Tensor]) -> _Adapter:
    """Sorts what a member consists of by the way that PEFT loads it."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    full: dict[str, Tensor] = {}
    for name, tensor in exported.items():
        path, _, leaf = name.removeprefix(_PREFIX).partition(".lora_")
        if not leaf:
            full[path] = tensor
            continue
        tensors[name] = tensor
        if leaf.startswith(("A", "embedding_A")):
            ranks[path] = len(tensor)
    _tie(model, tensors, ranks)
    biases = {name for name in full if name.endswith(".bias") and name.removesuffix(".bias") in ranks}
    for path in ranks if biases else ():
        out = tensors.get(f"{_PREFIX}{path}.lora_B.weight")
        if out is not None:
            own = full.get(f"{path}.bias")
            change = torch.zeros(out.shape[0], dtype=out.dtype)
            if own is not None:
                change = own - model.get_parameter(f"{path}.bias").detach()
            tensors[f"{_PREFIX}{path}.lora_B.bias"] = change
    saved = sorted({name.rpartition(".")[0] for name in full if name not in biases})
    if "" in saved:
        raise ValueError(
            f"an adapter can hold parameters of modules only, got {[n for n in full if '.' not in n]} at the root of "
            "the model; leave them out by param_filter, or wrap the model in a module"
        )
    for path in saved:
        for name, value in model.get_submodule(path).named_parameters(path):
            tensors[_PREFIX + name] = full.get(name, value.detach())
    return _Adapter(tensors, ranks, saved, bool(biases))


def _tie(model: nn.Module, tensors: dict[str, Tensor], ranks: dict[str, int]) -> None:
    """Adapts every module that uses a tied matrix, each in its own layout."""
    paths: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        paths.setdefault(id(value), []).append(name.rpartition(".")[0])
    for tied in (p for p in paths.values() if len(p) > 1):
        first = next((p for p in tied if p in ranks), None)
        for other in tied if first is not None else ():
            if other in ranks:
                continue
            for name, tensor in _layout(model, first or "", other, tensors):
                tensors[name] = tensor
            ranks[other] = ranks[first or ""]


def _layout(model: nn.Module, first: str, other: str, tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    embedded = isinstance(model.get_submodule(first), nn.Embedding)
    a, b = ("lora_embedding_A", "lora_embedding_B") if embedded else ("lora_A.weight", "lora_B.weight")
    inner, outer = tensors[f"{_PREFIX}{first}.{a}"], tensors[f"{_PREFIX}{first}.{b}"]
    wanted = isinstance(model.get_submodule(other), nn.Embedding)
    if embedded != wanted:
        inner, outer = outer.mT, inner.mT
    a, b = ("lora_embedding_A", "lora_embedding_B") if wanted else ("lora_A.weight", "lora_B.weight")
    whole = [t.clone(memory_format=torch.contiguous_format) for t in (inner, outer)]
    return [(f"{_PREFIX}{other}.{a}", whole[0]), (f"{_PREFIX}{other}.{b}", whole[1])]


def configuration(model: nn.Module, adapter: _Adapter, base_model: str | None) -> dict[str, Any]:
    """Returns what PEFT reads from ``adapter_config.json``."""
    most = max(adapter.ranks.values(), default=1)
    others = {path: rank for path, rank in adapter.ranks.items() if rank != most}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if hasattr(model, "generation_config") else None,
        "base_model_name_or_path": base_model or getattr(getattr(model, "config", None), "_name_or_path", None),
        "inference_mode": True,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(adapter.ranks),
        "fan_in_fan_out": any(type(model.get_submodule(path)).__name__ == "Conv1D" for path in adapter.ranks),
        "modules_to_save": adapter.saved or None,
        "lora_bias": adapter.biased,
        "lora_dropout": 0.0,
        "bias": "none",
    }


def _write(tensors: dict[str, Tensor], folder: Path) -> None:
    """Writes the tensors, as safetensors where that is installed."""
    try:
        from safetensors import torch as safetensors
    except ImportError:
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        cast("Any", safetensors).save_file(
            tensors, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"}
        )
