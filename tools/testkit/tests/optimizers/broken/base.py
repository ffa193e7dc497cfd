"""What every broken optimizer starts from: a sound one."""

import torch
from torch.optim import AdamW


class Broken(AdamW):
    def parameters(self) -> list[torch.Tensor]:
        return [p for group in self.param_groups for p in group["params"]]
