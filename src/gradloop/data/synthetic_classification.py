"""scikit-learn's `make_classification`, split and scaled as in the tutorial."""

from typing import Any

import torch

from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule
from gradloop.data.knobs import check
from gradloop.data.splitting import split_table
from gradloop.errors import ConfigError


class SyntheticClassification(DataModule):
    """Gaussian clusters at the corners of a hypercube (Guyon 2003), one or more a class.

    samples, features, classes: the size of the table; inputs are float32 [N, features].
    informative, redundant: how many features carry the class, and how many are linear mixes of those.
    class_separation: distance of the clusters (larger is easier); label_noise: share of labels drawn at random.
    test_fraction: held out first, drawn without a look at the classes; folds are stratified.
    val_fraction: share of what remains; `validate_on_test` uses the test part instead, as the tutorial does.
    task: multiclass (one logit a class) or binary (one logit, two classes only).
    The scaler (zero mean, unit variance) sees the training part only.
    """

    seeded_rows = False  # it has a random_state

    def __init__(
        self,
        *,
        samples: int,
        features: int,
        classes: int,
        informative: int,
        redundant: int,
        clusters_per_class: int,
        class_separation: float,
        label_noise: float,
        test_fraction: float,
        val_fraction: float,
        validate_on_test: bool,
        random_state: int,
        task: str,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        fractions = {"test_fraction": test_fraction, "val_fraction": val_fraction}
        check("data", "SyntheticClassification", classes=classes, label_noise=label_noise, task=task, **fractions)
        self.task = task  # type: ignore[assignment]
        if task == "binary" and classes != 2:
            raise ConfigError(f"data.task=binary: needs data.classes=2, not {classes}")
        if informative + redundant > features or informative < 1 or redundant < 0:
            raise ConfigError(
                f"data.informative={informative}, data.redundant={redundant}: expected 1 or more informative "
                f"features, and together at most data.features={features}"
            )
        if classes * clusters_per_class > 2**informative:
            raise ConfigError(
                f"data.informative={informative}: {classes} classes x {clusters_per_class} clusters do not fit on "
                f"the {2**informative} corners of the cube; raise data.informative"
            )
        if samples < 2 * classes:
            raise ConfigError(f"data.samples={samples}: expected at least 2 a class ({2 * classes})")
        self.input_shape = (features,)
        self.num_outputs = 1 if task == "binary" else classes
        self.class_names = tuple(str(k) for k in range(classes))
        self.input_names = tuple(f"x{k}" for k in range(features))
        self.make = {
            "n_samples": samples,
            "n_features": features,
            "n_classes": classes,
            "n_informative": informative,
            "n_redundant": redundant,
            "n_clusters_per_class": clusters_per_class,
            "class_sep": class_separation,
            "flip_y": label_noise,
            "random_state": random_state,
        }
        self.test_fraction, self.val_fraction = test_fraction, val_fraction
        self.validate_on_test = validate_on_test
        self.random_state = random_state
        self.mean: list[float] = []  # of each feature, once loaded
        self.std: list[float] = []

    def preprocessing(self) -> dict[str, Any]:
        return super().preprocessing() | {"mean": self.mean, "std": self.std}

    def load(self) -> dict[str, Split]:
        from sklearn.datasets import make_classification
        from sklearn.preprocessing import StandardScaler

        inputs, labels = make_classification(**self.make)
        parts = split_table(
            len(labels),
            test_fraction=self.test_fraction,
            val_fraction=0.0 if self.validate_on_test else self.val_fraction,
            random_state=self.random_state,
            labels=None if self.folds is None else labels,
            folds=self.folds,
            fold=self.fold,
        )
        scaler = StandardScaler().fit(inputs[parts["train"]])
        self.mean, self.std = scaler.mean_.tolist(), scaler.scale_.tolist()
        splits = {}
        for name, rows in parts.items():
            targets = torch.from_numpy(labels[rows])
            splits[name] = Split(
                torch.from_numpy(scaler.transform(inputs[rows])).float(),
                targets.float().unsqueeze(1) if self.task == "binary" else targets.long(),
            )
        if self.validate_on_test:
            splits["val"] = splits["test"]
        return splits
