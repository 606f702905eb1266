"""Data and networks as a user writes them, with each mistake that one may make."""

DATA = """
    import lightning.pytorch as pl
    import numpy
    import torch
    from gradloop.data.batches import Split
    from gradloop.data.data_module import DataModule

    class Broken(DataModule):
        input_shape, num_outputs, task = (3,), 2, "multiclass"

        def __init__(self, *, kind, batch_size, seed):
            super().__init__(batch_size=batch_size, seed=seed)
            self.kind = kind

        def load(self):
            if self.kind == "raises":
                raise OSError("the disk is gone\\nwhere is it?")
            inputs, targets = torch.randn(40, 3), torch.arange(40) % 2
            if self.kind == "not_a_number":
                inputs[7, 1] = float("nan")
            if self.kind == "one_class":
                targets = torch.zeros_like(targets)
            if self.kind == "labels":
                targets += 1
            if self.kind == "width":
                inputs = torch.randn(40, 4)
            if self.kind == "floats":
                targets = targets.float()
            if self.kind == "uneven":
                inputs = inputs[:30]
            if self.kind == "float64":
                inputs = inputs.double()
            if self.kind == "whole_inputs":
                inputs = inputs.long()
            if self.kind == "sparse":
                inputs = inputs.to_sparse()
            if self.kind == "array_inputs":
                inputs = inputs.numpy()
            if self.kind == "array_targets":
                targets = targets.numpy()
            splits = {name: Split(inputs, targets) for name in ("train", "val", "test")}
            if self.kind == "names":
                splits["train"] = Split(inputs, targets, ["a", "b"])
            if self.kind == "tuples":
                splits["val"] = inputs, targets
            if self.kind == "none":
                splits["val"] = None
            if self.kind == "list":
                return list(splits.values())
            if self.kind == "nothing_returned":
                return None
            if self.kind == "empty":
                splits["val"] = Split(inputs[:0], targets[:0])
            if self.kind == "missing":
                del splits["test"]
            return splits

    class Declares(Broken):
        def __init__(self, *, facts, **others):
            super().__init__(kind="nothing", **others)
            for name, value in facts.items():
                setattr(self, name, numpy.int64(value[2:]) if str(value).startswith("np") else value)

        def load(self):
            splits = super().load()
            if self.task == "multiclass":
                return splits
            return {name: Split(s.inputs, s.targets.double().unsqueeze(1)) for name, s in splits.items()}

    class NoTask(DataModule):
        input_shape, num_outputs = (3,), 2

    class NoSuper(Broken):
        def __init__(self, *, kind, batch_size, seed):
            self.batch_size, self.seed, self.kind = batch_size, seed, kind

    class NoLoad(DataModule):
        input_shape, num_outputs, task = (3,), 2, "multiclass"

    class LightningData(pl.LightningDataModule):
        pass

    class Lit(pl.LightningModule):
        def __init__(self, *, in_features, out_features):
            super().__init__()
            self.layer = torch.nn.Linear(in_features, out_features)

        def forward(self, x):
            return self.layer(x)

        def training_step(self, batch, index):
            return self(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=99.0)

    def lit(*, in_features, out_features):
        return Lit(in_features=in_features, out_features=out_features)

    class NoSuperNet(torch.nn.Module):
        def __init__(self, *, num_outputs):
            self.num_outputs = num_outputs

        def forward(self, x):
            return x[:, :self.num_outputs]

    class Hidden(torch.nn.Module):
        def __init__(self, *, in_features, out_features):
            super().__init__()
            self.layers = [torch.nn.Linear(in_features, out_features)]

        def forward(self, x):
            return self.layers[0](x)
    class Seedless(DataModule):
        input_shape, num_outputs, task = (3,), 2, "multiclass"

        def __init__(self, *, width=3):
            super().__init__(batch_size=10, seed=0)
            self.width = width

        def load(self):
            inputs, targets = torch.randn(40, self.width), torch.arange(40) % 2
            return {name: Split(inputs, targets) for name in ("train", "val", "test")}

    class Undeclared(DataModule):
        def __init__(self):
            super().__init__(batch_size=10, seed=0)

    class Net(torch.nn.Linear):
        def __init__(self, *, input_shape, num_outputs, scale=1.0):
            super().__init__(input_shape[0], num_outputs)

    def own_loss(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)
"""
