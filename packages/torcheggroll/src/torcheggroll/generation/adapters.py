"""Members as folders that PEFT and servers with LoRA load: factors, and a configuration that gives them scale 1.

The matrix of a linear layer, an embedding or a convolution goes as LoRA factors, each with a rank of its own where a
small side clips it; the bias of such a module as the bias of its second factor; everything else, norms and the weights
of experts as a rule, as a saved copy of its module, with all that lies in it. So do matrices that PEFT does not load as
factors beside those: embeddings beside factors with biases, and modules called as those of experts once were.
"""

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..population import MemberSpec

if TYPE_CHECKING:
    from ..es import TorchEggrollES

_PREFIX = "base_model.model."
_FUSED = {"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}  # PEFT moves factors of such names to fused experts


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
    stacks = any(value.dim() > 2 for value in full.values())
    whole = [path for path in ranks if not _takes_factors(model.get_submodule(path))]
    whole += [path for path in ranks if stacks and path.rpartition(".")[2] in _FUSED]
    _fill(model, dict.fromkeys(whole), tensors, ranks, full)
    _fill(model, [path for path in ranks if _lies_in(path, _owners(full, ranks))], tensors, ranks, full)
    biases = {name for name in full if name.endswith(".bias") and name.removesuffix(".bias") in ranks}
    if biases:
        embeddings = [path for path in ranks if isinstance(model.get_submodule(path), nn.Embedding)]
        _fill(model, embeddings, tensors, ranks, full)
    for path in ranks if biases else ():
        out = tensors.get(f"{_PREFIX}{path}.lora_B.weight")
        if out is not None:
            own = full.get(f"{path}.bias")
            change = torch.zeros(out.shape[0], dtype=out.dtype)
            if own is not None:
                change = own - model.get_parameter(f"{path}.bias").detach()
            tensors[f"{_PREFIX}{path}.lora_B.bias"] = change
    owners = _owners({name: value for name, value in full.items() if name not in biases}, ())
    saved = sorted(path for path in owners if not _lies_in(path, owners))
    if "" in owners:
        raise ValueError(
            f"an adapter can hold parameters of modules only, got {[n for n in full if '.' not in n]} at the root of "
            "the model; leave them out by param_filter, or wrap the model in a module"
        )
    for path in saved:
        held = cast("dict[str, Tensor]", model.get_submodule(path).state_dict(prefix=f"{path}."))
        tensors.update({_PREFIX + name: full.get(name, value) for name, value in held.items()})
    return _Adapter(tensors, ranks, saved, bool(biases))


def _owners(full: Iterable[str], ranks: Container[str]) -> set[str]:
    """Lists the modules of parameters that go in full; not of biases, where the module's matrix goes as factors."""
    split = [name.rpartition(".") for name in full]
    return {path for path, _, leaf in split if not (leaf == "bias" and path in ranks)}


def _lies_in(path: str, owners: Iterable[str]) -> bool:
    """Returns whether a module lies in one of some others."""
    return any(path.startswith(f"{owner}.") for owner in owners)


def _fill(
    model: nn.Module, paths: Iterable[str], tensors: dict[str, Tensor], ranks: dict[str, int], full: dict[str, Tensor]
) -> None:
    """Takes the matrices of some modules from those that go as factors to those that go in full."""
    for path in paths:
        weight = model.get_parameter(f"{path}.weight").detach()
        a, b = _names(model, path)
        inner, outer = tensors.pop(f"{_PREFIX}{path}.{a}"), tensors.pop(f"{_PREFIX}{path}.{b}")
        change = outer.flatten(1) @ inner.flatten(1)
        if isinstance(model.get_submodule(path), nn.Embedding) or _stores_transposed(model, path):
            change = change.mT
        full[f"{path}.weight"] = (weight + change.view(weight.shape)).to(weight.dtype)
        del ranks[path]


def _takes_factors(module: nn.Module) -> bool:
    """Returns whether PEFT has factors for modules of this kind."""
    plain = isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return (plain and getattr(module, "groups", 1) == 1) or type(module).__name__ == "Conv1D"


def _names(model: nn.Module, path: str) -> tuple[str, str]:
    """Returns what PEFT calls the two factors of a module."""
    if isinstance(model.get_submodule(path), nn.Embedding):
        return "lora_embedding_A", "lora_embedding_B"
    return "lora_A.weight", "lora_B.weight"


def _stores_transposed(model: nn.Module, path: str) -> bool:
    """Returns whether a module stores ``(in, out)``, as the Conv1D of Transformers does."""
    return type(model.get_submodule(path)).__name__ == "Conv1D"


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
    given, wanted = _names(model, first), _names(model, other)
    inner, outer = (tensors[f"{_PREFIX}{first}.{name}"] for name in given)
    if given != wanted:
        inner, outer = outer.mT, inner.mT
    a, b = wanted
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
        "fan_in_fan_out": any(_stores_transposed(model, path) for path in adapter.ranks),
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
