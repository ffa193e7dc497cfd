"""Two parameter groups with their own k and α, and OneCycleLR, in a Lightning module (pip install lightning)."""

import lightning
import torch
from rangerlite import RangerLite
from torch import nn


class Regression(lightning.LightningModule):
    """A small regression whose body looks further ahead than its head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Tanh())
        self.head = nn.Linear(16, 1)

    def training_step(self, batch, _):
        """Return the squared error."""
        x, y = batch
        return nn.functional.mse_loss(self.head(self.body(x)), y)

    def configure_optimizers(self):
        """Give each group its own Lookahead; the scheduler steers both learning rates."""
        optimizer = RangerLite(
            [
                {"params": self.body.parameters(), "lookahead_steps": 10},
                {"params": self.head.parameters(), "lookahead_alpha": 0.8},
            ]
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.02, 0.05], total_steps=160)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Train for twenty epochs and print the error before and after."""
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True).tanh())
    module = Regression()
    trainer = lightning.Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    before = module.training_step(data[:], 0).item()
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=32))
    print(f"error before {before:.3f}, after {module.training_step(data[:], 0).item():.3f}")


if __name__ == "__main__":
    main()
