import math
from dataclasses import asdict, replace

import pytest
import torch
from bench.commands.replay import differences
from bench.execute.train import Job, evaluation_steps, execute
from bench.methods.driver import Driver
from bench.methods.ours import RangerLiteDriver
from bench.methods.table import METHODS, entries_of, importable
from bench.protocol.search import space_of
from bench.records.models import Config
from bench.workloads.base import Budget
from bench.workloads.table import WORKLOADS
from rangerlite import RangerLite

torch.set_num_threads(1)


def job_for(entry, workload="diamonds", seed=0, role="final", budget=None, **params):
    method = METHODS[entry.split("+")[0]]
    family = method.family
    used = budget or Budget(6, 16, 2)
    rewards = WORKLOADS[workload].rewards
    config = Config(
        workload=workload,
        family=family,
        budget=asdict(used),
        entry=entry,
        params={**space_of(method, rewards, 1.0).recommended(), **params},
        seed=seed,
    )
    return Job(config, role, "smoke")


def run(entry, **settings):
    job = job_for(entry, **settings)
    return execute(job, WORKLOADS[job.config.workload])


GRADIENT = entries_of(WORKLOADS["diamonds"], "gradient", None, True)


@pytest.mark.parametrize("entry", GRADIENT)
def test_a_replay_of_each_method_is_equal_to_the_bit(entry):
    one, two = run(entry), run(entry)
    assert one.status == "finished"
    assert differences(one, two) == []
    assert one.cost.state_bytes > 0 or entry.startswith("aees") or entry == "sgd"


@pytest.mark.parametrize("entry", ["torcheggroll-r4", "openai-es"])
@pytest.mark.parametrize("workload", ["int4-mnist", "cartpole", "wide-mnist"])
def test_a_replay_of_evolution_is_equal_to_the_bit(entry, workload):
    one, two = (run(entry, workload=workload, budget=Budget(3, 16, 3)) for _ in range(2))
    assert differences(one, two) == []
    assert one.cost.evaluations == 3 * 64
    assert (one.cost.env_steps > 0) == (workload == "cartpole")


@pytest.mark.parametrize("entry", ["adamw", "adaptive-adamw"])
def test_a_replay_of_reward_driven_control_is_equal_to_the_bit(entry):
    one, two = (run(entry, workload="cartpole", budget=Budget(12, 16, 2)) for _ in range(2))
    assert differences(one, two) == []
    assert one.cost.env_steps == 12 * 16 * 16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that only the extras bring
@pytest.mark.parametrize("workload", [name for name, workload in WORKLOADS.items() if workload.extra])
def test_a_replay_of_a_workload_with_an_extra_is_equal_to_the_bit(workload):
    if not importable(WORKLOADS[workload]):
        pytest.skip(f"needs bench[{WORKLOADS[workload].extra}]")
    one, two = (run("adamw", workload=workload, budget=Budget(2, 8, 2)) for _ in range(2))
    assert one.status == "finished"
    assert differences(one, two) == []


@pytest.mark.parametrize("workload", ["mnist5k-noise", "shakespeare", "diamonds", "mnist5k-asym"])
def test_a_seed_fixes_weights_batches_and_noise_for_all_methods(workload):
    built = WORKLOADS[workload].build
    one, two = (built("gradient", Budget(4, 8, 2), 5, "cpu") for _ in range(2))
    other = built("gradient", Budget(4, 8, 2), 6, "cpu")
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(p, q)
    losses = [[task.loss(step).item() for step in range(4)] for task in (one, two, other)]
    assert losses[0] == losses[1] != losses[2]


def test_the_first_loss_of_every_method_is_the_same():
    first = {run(entry, budget=Budget(1, 16, 1)).curve.loss[0] for entry in GRADIENT}
    assert len(first) == 1


def test_a_run_leaves_the_global_stream_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run("thermolion")
    run("sgd")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_ran_before_in_the_process_does_not_matter():
    alone = run("lookahead-radam")
    run("aees-adamw", seed=9)
    torch.randn(100)
    assert differences(alone, run("lookahead-radam")) == []


def test_tuning_runs_never_see_the_test_part(monkeypatch):
    def build(*given):
        task = WORKLOADS["diamonds"].build(*given)
        task.test = lambda: pytest.fail("the test part was read in tuning")
        return task

    job = job_for("adamw", role="tune")
    assert execute(job, replace(WORKLOADS["diamonds"], build=build)).test is None


def test_divergence_is_a_result():
    record = run("sgd", lr=1e9, budget=Budget(30, 16, 3))
    assert (record.status, record.value, record.test) == ("diverged", None, None)


def test_a_controller_shows_its_decisions():
    budget = Budget(60, 16, 3)
    for entry in ("aees-adamw", "aees-find", "adaptive-adamw"):
        record = run(entry, budget=budget)
        assert record.decisions is not None
        assert sum(record.arms.values()) >= record.decisions > 0
        assert all(len(values) == 3 for values in record.trace.values())
    assert run("adamw", budget=budget).decisions is None


def test_schedule_free_is_evaluated_at_its_average():
    record = run("schedulefree", budget=Budget(20, 16, 1), lr=0.03)
    task = WORKLOADS["diamonds"].build("gradient", Budget(20, 16, 1), 0, "cpu")
    from schedulefree import AdamWScheduleFree

    optimizer = AdamWScheduleFree(task.model.parameters(), lr=0.03, weight_decay=0.0, warmup_steps=2)
    optimizer.train()
    for step in range(20):
        optimizer.zero_grad()
        task.loss(step).backward()
        optimizer.step()
    at_the_training_point = task.validate()
    optimizer.eval()
    assert record.value == task.validate() != at_the_training_point


def test_rangerlite_is_evaluated_inside_slow_weights(monkeypatch):
    slow = run("rangerlite", budget=Budget(7, 16, 1))
    monkeypatch.setattr(RangerLiteDriver, "evaluating", Driver.evaluating)
    fast = run("rangerlite", budget=Budget(7, 16, 1))
    assert slow.curve.loss == fast.curve.loss
    assert slow.value != fast.value
    task = WORKLOADS["diamonds"].build("gradient", Budget(7, 16, 1), 0, "cpu")
    optimizer = RangerLite(task.model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, lookahead_steps=5)
    for step, factor in enumerate(warmup_and_cosine(7)):
        optimizer.param_groups[0]["lr"] = 1e-3 * factor
        optimizer.zero_grad()
        task.loss(step).backward()
        optimizer.step()
    with optimizer.slow_weights():
        assert slow.value == task.validate()


def warmup_and_cosine(steps):
    warmup = max(1, steps // 10)
    for t in range(steps):
        yield (t + 1) / warmup if t < warmup else 0.5 * (1 + math.cos(math.pi * (t - warmup) / (steps - warmup)))


def test_rangerlite_is_lookahead_around_radam_on_the_slow_weights():
    """At equal settings the two agree to rounding, for the bench reads both at their slow weights."""
    one = run("rangerlite", budget=Budget(20, 16, 2), lr=0.01)
    other = run("lookahead-radam", budget=Budget(20, 16, 2), lr=0.01)
    assert one.curve.value == pytest.approx(other.curve.value, rel=1e-4)


def test_the_factored_forward_runs_on_the_wide_network(monkeypatch):
    from torcheggroll import TorchEggrollES

    monkeypatch.setattr(TorchEggrollES, "get_stacked_params", lambda self: pytest.fail("members were formed"))
    record = run("torcheggroll-r4", workload="wide-mnist", budget=Budget(3, 32, 1))
    assert record.status == "finished"
    with pytest.raises(pytest.fail.Exception, match="members were formed"):
        run("torcheggroll-r4", workload="int4-mnist", budget=Budget(3, 32, 1))


def test_members_of_the_wide_network_are_those_of_its_module():
    task = WORKLOADS["wide-mnist"].build("es", Budget(2, 16, 1), 0, "cpu")
    inputs, loss, targets = task.batch(1)
    members = {name: torch.stack([p, p + 0.01]) for name, p in task.model.named_parameters()}
    with torch.no_grad():
        assert -loss(task.model(inputs), targets).item() == pytest.approx(task.fitness(members, 1)[0].item())


@pytest.mark.parametrize(("steps", "evals"), [(10, 3), (200, 10), (7, 7)])
def test_evaluations_are_even_and_end_with_the_last_step(steps, evals):
    stops = evaluation_steps(steps, evals)
    assert max(stops) == steps
    assert len(stops) == evals
