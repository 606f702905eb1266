"""The LightningModule that trains every network of gradloop's: its loss, its measurements, its checkpoints."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from gradloop.errors import ConfigError
from gradloop.runs.history import counted_from_one
from gradloop.runs.run import Run
from gradloop.training.loop.loop import Loop
from gradloop.training.loop.position import place_of
from gradloop.training.loop.stretches import Stretch
from gradloop.training.means import mean_of_weights, mean_over_views
from gradloop.training.meter import Meter
from gradloop.training.own_metrics import measure
from gradloop.training.task import Task, single_line

Batch = tuple[Tensor, Tensor]
HALF = (torch.bfloat16, torch.float16)


class Supervised(pl.LightningModule):
    """Inputs -> network -> outputs, and a loss between outputs and targets.

    network: any nn.Module from [B, *input_shape] to [B, num_outputs].
    task: what the targets are, which decides metrics and predictions.
    loss: (outputs, targets) -> scalar.
    optimizer: parameters -> optimizer (a partial); None for a module that is only evaluated.
    scheduler: (optimizer, steps, an epoch's steps) -> learning-rate scheduler, or None for a constant rate.
    scheduler_interval: "step" or "epoch", what the scheduler counts.
    epoch_metrics: names of the metrics computed every epoch; the others are computed by test alone.
    seed: what the randomness inside the network (dropout) is drawn from, batch by batch.
    own_metrics: the user's torchmetrics by name, measured in every part. loop: options of the training `Loop`.
    channels_last: lay pictures out as [B, H, W, C] in memory, which convolutions on CPU and GPU prefer.
    test_time_flip, test_time_shift: evaluate the mean over views of each picture (`mean_over_views`).
    """

    automatic_optimization = False  # the loop does it
    run: Run  # while it trains
    monitored: str = "train/loss"  # the metric that a scheduler may follow (ReduceLROnPlateau)

    def __init__(
        self,
        *,
        network: nn.Module,
        task: Task,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer, int, int], Any] | None = None,
        scheduler_interval: str = "step",
        epoch_metrics: list[str] | None = None,
        seed: int = 0,
        channels_last: bool = False,
        test_time_flip: bool = False,
        test_time_shift: int = 0,
        own_metrics: dict[str, Any] | None = None,
        loop: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.task, self.loss = task, loss
        self.line = single_line(network) if task.name == "regression" else None
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.scheduler_interval = scheduler_interval
        self.own_metrics = own_metrics or {}  # a plain dict: their states are none of the weights
        self.seed, self.epoch_metrics = seed, epoch_metrics
        self.channels_last, self.test_time_flip, self.test_time_shift = channels_last, test_time_flip, test_time_shift
        self.meters = {stage: Meter() for stage in ("train", "val", "test")}
        self.row: dict[str, float] = {}  # what this epoch has measured so far
        self.newest: dict[str, float] = {}  # of each metric, what callbacks are told
        self.told: set[tuple[str, int]] = set()  # what loggers have of a validation inside an epoch, at which step
        self.outputs: dict[str, Batch] = {}  # what the last evaluation saw: for pictures and predictions
        self._gradients: dict[str, Tensor] = {}  # accumulated so far by the run that is resumed
        self.seconds_before = 0.0  # of fitting, in the runs that this one goes on from
        self._began = time.monotonic()
        self.loop = Loop(self, **(loop or {}))
        self.recipe: dict[str, Any] = {}  # config and facts as plain data: what a checkpoint needs to be rebuilt

    def predictions(self, outputs: Tensor) -> Tensor:
        """Turn raw outputs into what a person reads: probabilities or values."""
        return self.task.read(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.training or inputs.ndim != 4:
            return self.network(inputs)
        return mean_over_views(self.network, inputs, flip=self.test_time_flip, shift=self.test_time_shift)

    def loss_of(self, batch: Batch, stage: str) -> Tensor:
        """Return the mean loss of a batch, and note what the stage's metrics need: both in float32 at least."""
        inputs, targets = batch
        outputs = self(inputs)
        if outputs.dtype in HALF:  # rounded losses would tie
            outputs = outputs.float()
        loss = self.loss(outputs, targets)
        if targets.is_floating_point() and self.task.name == "multiclass":  # mixed ones
            loss = loss * mean_of_weights(self.loss, targets)
        self.meters[stage].add(loss.detach(), outputs.detach(), targets)
        return loss

    def training_step(self, batch: Batch | Stretch, batch_idx: int) -> dict[str, Tensor] | None:
        return self.loop.train(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.loss_of(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.loss_of(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.predictions(self(batch[0]))  # for `Trainer.predict` of a run that was loaded

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.loop.clip_gradients(optimizer)

    def on_train_start(self) -> None:
        self._began = time.monotonic()
        # an epoch that was cut short goes on: its row comes at its end
        self.run.history[:] = counted_from_one(self.run.history, self.loop.epoch)
        for name, weight in self.named_parameters():
            if name in self._gradients:
                weight.grad = self._gradients[name].to(weight)
        self._gradients = {}
        self.meters["train"].to(self.device)  # of a checkpoint, which is read into memory

    def on_train_epoch_start(self) -> None:
        if self.trainer.accumulate_grad_batches != 1 or self.trainer.gradient_clip_val is not None:
            raise ConfigError(
                "callbacks: one sets the Trainer's accumulate_grad_batches or gradient_clip_val, which gradloop's "
                "loop takes from the config alone; a LightningModule of your own follows them"
            )

    def on_train_epoch_end(self) -> None:
        if self.loop.validation_due:  # `max_steps` was reached
            self.loop.validate()
        if self.line is not None:  # two numbers are cheap to keep, and show the way over the loss surface
            self.row.update(weight=self.line[0].item(), bias=self.line[1].item())
        self._measured("train", self.epoch_metrics)
        rate = self.row.pop("lr") if "lr" in self.row else self.trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": self.loop.epoch + 1, "step": self.loop.step, **self.row, "lr": rate}
        self.row.clear()
        self.run.history.append(row)
        untold = {n: v for n, v in row.items() if (n, self.loop.step) not in self.told} if self.told else row
        self.run.log(untold)
        self.loop.end_epoch(row)

    def on_validation_epoch_start(self) -> None:
        self.meters["val"].reset()
        self.loop.reseed(-1 - self.loop.batch)

    def on_validation_epoch_end(self) -> None:
        measured = self._measured("val", self.epoch_metrics)
        if self.trainer.state.fn == "fit" and not self.loop.at_epochs_end:
            self.run.log({**measured, "step": self.loop.step})  # a validation inside the epoch
            self.told = {(name, self.loop.step) for name in measured}

    def on_validation_end(self) -> None:
        self.loop.validated = True

    def on_test_epoch_start(self) -> None:
        self.meters["test"].reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self._measured("test", None), logger=False)

    def _measured(self, stage: str, names: list[str] | None) -> dict[str, float]:
        """Close the stage's meter and publish `<stage>/<metric>` to the callbacks and to this epoch's row."""
        meter = self.meters[stage]
        if meter.empty:  # a resumed epoch of which nothing was left to run
            return {}
        loss, outputs, targets = meter.gather(self.trainer, stage)
        if stage != "train" or self.loop.at_epochs_end:  # an epoch that was cut short may go on later
            meter.reset()
        if stage != "train":
            loss = float(self.loss(outputs, targets))
            self.outputs[stage] = (outputs, targets)
        measured = {f"{stage}/loss": loss}
        measured |= {f"{stage}/{name}": value for name, value in self.measure(outputs, targets, names).items()}
        self.newest.update(measured)
        if not self.loop.between_epochs or self.loop.epochs.followed:
            self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.newest.items()})
        self.row.update(measured)
        return measured

    def measure(self, outputs: Tensor, targets: Tensor, names: list[str] | None) -> dict[str, float]:
        """Return the task's named metrics (None: all) and the user's own, of all outputs of a part."""
        measured = self.task.measure(outputs, targets, names)
        for name, metric in self.own_metrics.items():
            measured[name] = measure(f"metrics.{name}", metric, self.task, outputs, targets)
        return measured

    def configure_optimizers(self) -> Any:
        assert self.optimizer_factory is not None, "a module built for evaluation can't be trained"
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        steps = self.loop.steps(int(self.trainer.max_epochs or 1), self.trainer.max_steps)
        scheduler = self.scheduler_factory(optimizer, steps, self.loop.steps_an_epoch)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("loops", None)  # Lightning's counters of stretches: the position says all
        checkpoint["epoch"] = self.loop.epoch  # epochs done; Lightning counts one at its end a moment later
        waiting = self.named_parameters() if self.loop.accumulating else ()
        checkpoint.setdefault("gradloop", {}).update(
            position=self.loop.state(),
            recipe=self.recipe,
            history=self.run.history,
            row=self.row,
            seconds=self.seconds_before + time.monotonic() - self._began,
            meters={stage: meter.state() for stage, meter in self.meters.items() if stage == "train"},
            gradients={name: weight.grad for name, weight in waiting if weight.grad is not None},
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("gradloop")
        if saved and "history" in saved:
            self.loop.load(place_of(checkpoint))
            checkpoint.pop("loops", None)
            self.run.history[:] = counted_from_one(saved["history"])
            self.row = dict(saved["row"])
            self.seconds_before = saved.get("seconds", 0.0)
            for stage, state in saved["meters"].items():
                self.meters[stage] = Meter.from_state(state)
            self._gradients = dict(saved["gradients"])
