"""All workloads by their id, in the order in which they are run."""

from bench.workloads import classify, control, finetune, language, quantised, regress, sentiment, wide
from bench.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    workload.id: workload
    for workload in (
        classify.SYMMETRIC,
        classify.CLEAN,
        classify.ASYMMETRIC,
        language.WORKLOAD,
        regress.WORKLOAD,
        quantised.WORKLOAD,
        control.CARTPOLE,
        control.ACROBOT,
        control.LUNARLANDER,
        finetune.WORKLOAD,
        sentiment.WORKLOAD,
        wide.WORKLOAD,
    )
}
