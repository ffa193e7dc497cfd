"""Everything that release 0.1.0 promised by name is there: names, signatures, fields, keys, errors."""

import dataclasses
import importlib
import inspect
import json
import warnings
from math import inf, nan
from pathlib import Path

import pulseopt
import pytest
import torch
from pulseopt import controller, episode, legacy, modes, reward, scheduler, tracking, types

pytestmark = pytest.mark.filterwarnings("ignore:pulseopt.*import it from pulseopt.legacy:DeprecationWarning")
PROMISED = json.loads((Path(__file__).parent / "golden" / "public_names.json").read_text())
ENTRIES = [pytest.param("pulseopt", entry, id=entry["name"]) for entry in PROMISED["top_level"]] + [
    pytest.param(f"pulseopt.{module}", entry, id=f"{module}.{entry['name']}")
    for module, entries in PROMISED["submodules"].items()
    for entry in entries
]


def test_every_promised_name_is_exported():
    assert set(PROMISED["all"]) <= set(pulseopt.__all__)
    assert all(hasattr(pulseopt, name) for name in pulseopt.__all__)


def parameters(signature):
    """Names, kinds and defaults, without the annotations."""
    return {p.name: (p.kind, p.default) for p in inspect.signature(signature).parameters.values() if p.name != "self"}


def promised_parameters(text):
    """The same, from a signature as text: annotations are quoted there, so a function can be made of it."""
    text = text.split(" -> ")[0].replace("<factory>", "()")
    scope = {}
    exec(f"def made{text}: ...", {"NoneType": None}, scope)
    return parameters(scope["made"])


@pytest.mark.parametrize(("module", "entry"), ENTRIES)
def test_each_name_is_what_it_was(module, entry):
    found = getattr(importlib.import_module(module), entry["name"])
    if entry["kind"] == "constant":
        assert found == (tuple(entry["value"]) if entry["type"] == "tuple" else entry["value"])
    elif entry["kind"] == "alias":
        assert found is getattr(importlib.import_module(module), entry["of"])
    elif entry["kind"] != "protocol":
        promised = promised_parameters(entry["signature"])
        offered = parameters(found)
        if "step_losses" in promised:
            promised["step_losses"] = offered["step_losses"]  # the default is a factory on both sides
        assert dict(list(offered.items())[: len(promised)]) == promised, "an argument has moved or changed its default"
        extra = list(offered.values())[len(promised) :]
        assert all(default is not inspect.Parameter.empty for _, default in extra)


@pytest.mark.parametrize(("module", "entry"), [e for e in ENTRIES if e.values[1].get("methods")])
def test_each_method_takes_what_it_took(module, entry):
    owner = getattr(importlib.import_module(module), entry["name"])
    for name, signature in entry["methods"].items():
        promised, offered = promised_parameters(signature), parameters(getattr(owner, name))
        assert list(offered.items())[: len(promised)] == list(promised.items()), name
    for attribute in entry["properties"]:
        assert isinstance(inspect.getattr_static(owner, attribute["name"]), property)


@pytest.mark.parametrize(("module", "entry"), [e for e in ENTRIES if e.values[1].get("fields")])
def test_each_record_has_its_fields_in_their_order(module, entry):
    owner = getattr(importlib.import_module(module), entry["name"])
    names = [field.name for field in dataclasses.fields(owner)]
    assert names[: len(entry["fields"])] == [field["name"] for field in entry["fields"]]
    assert owner.__dataclass_params__.frozen is entry.get("frozen", True)


class C:
    """A controller that plays one arm, for the calls below."""

    def __init__(self, arm=0):
        self.arm = arm

    def select_mode(self):
        return self.arm

    def update(self, mode_id, reward):
        pass

    def get_state(self):
        return {}


def P():  # noqa: N802
    return torch.nn.Parameter(torch.ones(2))


def sgd():
    return torch.optim.SGD([P()], lr=0.1)


def started(aees):
    aees.step_start(0)
    return aees


def summ(**changes):
    known = {"ema_loss_start": 1.0, "ema_loss_end": 0.5, "step_losses": (1.0, 0.5), "steps": 2, **changes}
    return pulseopt.EpisodeSummary(0, 0, "a", 0, 1, known.pop("steps"), 1.0, 0.5, 0.0, **known)


def SEM(lr=(1.0, 2.0), noise=(0.0,), lrc=..., nzc=None, L=2, **settings):  # noqa: N802, N803
    lrc = (C() if len(lr) > 1 else None) if lrc is ... else lrc
    return pulseopt.StructuredEpisodeManager(
        list(lr), list(noise), lrc, nzc, pulseopt.NormalizedLossImprovementReward(), L, **settings
    )


SCOPE = {
    **{name: value for module in (legacy, controller, episode, modes, reward, scheduler, tracking, types, pulseopt)
       for name, value in vars(module).items() if not name.startswith("_")},
    **{"C": C, "P": P, "sgd": sgd, "started": started, "summ": summ, "SEM": SEM},
    **{"torch": torch, "nan": nan, "inf": inf},
    "seq": lambda call: call(),
}  # fmt: skip
# The specification says otherwise: "joint" is a mode now, and losses at or below zero have a reward.
OVERRULED = {
    "AEES(sgd(), structured_control_mode='joint')",
    "seq(lambda a=started(AEES(sgd(), episode_length=1)): a.step_end(-1.0))",
    "seq(lambda a=started(AEES(sgd())): a.step_end(torch.ones(2)))",
}


@pytest.mark.parametrize(
    "promised",
    [case for case in PROMISED["exceptions"] if case["call"] not in OVERRULED],
    ids=lambda case: case["call"],
)
def test_each_refusal_is_the_promised_one(promised):
    with pytest.raises(Exception) as raised:  # noqa: PT011
        eval(promised["call"], dict(SCOPE))
    assert type(raised.value).__name__ == promised["raises"]
    extended = promised["message"].removesuffix("got 'x'.")
    assert extended in str(raised.value)


def test_what_the_specification_overrules_is_defined_now():
    pulseopt.AEES(sgd(), structured_control_mode="joint")
    with pytest.raises(ValueError, match="one number"):
        started(pulseopt.AEES(sgd())).step_end(torch.ones(2))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        started(pulseopt.AEES(sgd(), episode_length=1)).step_end(-1.0)


def test_logs_and_states_have_the_promised_keys():
    aees = pulseopt.AEES(sgd())
    assert list(aees.get_logs()) == PROMISED["aees_get_logs_keys"]["context_mode none"]
    aees = pulseopt.AEES(sgd(), context_mode="trend")
    assert list(aees.get_logs()) == [*PROMISED["aees_get_logs_keys"]["context_mode trend"], "context_buckets"]
    built = pulseopt.NormalizedLossImprovementReward()
    manager = pulseopt.EpisodeManager([pulseopt.CandidateConfig("a")], C(), built, 2)
    assert list(manager.get_logs()) == PROMISED["episode_manager_get_logs_keys"]
    built.compute(summ())
    assert list(built.get_last_details()) == PROMISED["get_last_details_keys"]
    for name, keys in PROMISED["adaptive_mode_state_dict_keys"].items():
        assert sorted(getattr(pulseopt, name)([P()], lr=0.1).state_dict()) == keys
    makers = {
        "DiscountedUCBController": lambda kind: kind(2),
        "RandomController": lambda kind: kind(2),
        "BucketedContextualController": lambda kind: kind(2, ["a"]),
        "NormalizedLossImprovementReward": lambda kind: kind(),
    }
    for name, keys in PROMISED["controller_state_keys"].items():
        assert list(makers[name](getattr(pulseopt, name)).get_state()) == keys
    for name, attributes in PROMISED["public_instance_attributes"].items():
        if attributes:
            made = makers[name](getattr(pulseopt, name))
            assert all(hasattr(made, attribute) for attribute in attributes)
