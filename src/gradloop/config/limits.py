"""What the knobs of the YAML files accept: ranges and words. Their types are those of the values in the files."""

import fnmatch
import functools
from dataclasses import replace

from gradloop.config.rules import (
    ANY,
    AT_LEAST_ONE,
    BELOW_ONE,
    COLUMN,
    FOLDER,
    INSIDE_ONE,
    NAME,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    SEED,
    SEEDS,
    SHARE,
    SIZE,
    WORD,
    Rule,
    are_betas,
    are_built,
    are_devices,
    are_groups,
    are_loss_weights,
    are_weights,
    batches,
    either,
    is_time,
    is_warmup,
    is_whole,
    named,
    number,
    words,
)
from gradloop.config.sweep_limits import SWEEPS

PRECISIONS = (
    "auto", "32-true", "32", "64-true", "64", "bf16-mixed", "bf16-true", "bf16", "16-mixed", "16-true", "16",
)  # fmt: skip
MAX_STEPS = "trainer.max_steps ends a run earlier"
STRATEGIES = r"auto|(ddp|deepspeed|fsdp|xla|single)(_\w+)?|model_parallel"

# Keys in full, and where a class is built, <class>.<parameter>: that comes first. * stands for any name.
TABLE: tuple[tuple[Rule, str], ...] = (
    (FOLDER, "output_dir data.root data.cache_dir"),
    (ANY, "allow optimizer.fused data.slope data.intercept logger.csv.name"),
    (ANY, "MLflow.experiment"),
    (NAME, "Wandb.project Comet.project Trackio.project"),
    (replace(ANY, like="my_team"), "Wandb.entity Comet.workspace"),
    (POSITIVE, "Wandb.finish_timeout"),
    (ANY, "model.output_scale TorchvisionClassifier.name"),  # the class looks at the name
    (replace(ANY, like="val/loss", null=True), "monitor"),
    (replace(ANY, like="run"), "name"),
    (replace(ANY, like="a sentence"), "notes"),
    (WORD, "tags"),
    (words("en", "ko"), "lang"),
    (replace(FOLDER, like="last"), "run sweep"),
    (replace(words("completed", "failed", "interrupted", "diverged", "running", "pruned"), like="failed"), "status"),
    (AT_LEAST_ONE, "most"),
    (replace(ANY, like="DEFAULT"), "TorchvisionClassifier.weights"),
    (either("a run folder, or last", lambda v: isinstance(v, str | int | float)), "resume"),
    (replace(ANY, like=0.9), "EarlyStopping.threshold"),
    (replace(words("max", "min"), like="max"), "monitor_mode"),
    (
        replace(words("accuracy", "exact_match", "f1", "auroc", "mae", "rmse", "r2"), like=["accuracy"]),
        "epoch_metrics",
    ),
    (either("auto, or 1 to 1024", lambda v: v == "auto" or (is_whole(v, 1) and v <= 1024)), "threads"),
    (NOT_NEGATIVE, "test_time_shift"),
    (Rule("100 to 1000000, or 0 for none", lambda v: v == 0 or 100 <= v <= 10**6), "bootstrap"),
    (either("a run folder, or a file of weights", lambda v: isinstance(v, str | int | float)), "init_from"),
    (SEEDS, "seeds sweep.seeds"),
    (replace(SEED, like=0, null=True), "seed data.seed"),
    (SEED, "data.random_state data.split_seed explain.seed sweep.sampler_seed sweep.sampler.seed"),
    # data
    (replace(AT_LEAST_ONE, like=32), "data.batch_size"),
    (replace(AT_LEAST_ONE, like=32, null=True), "LinearRegression.batch_size"),  # of all points
    (replace(number(2), like=5), "folds data.folds"),
    (replace(NOT_NEGATIVE, like=0), "data.fold"),
    (either("balanced, or a list of weights of 0 or more, one a class", are_weights), "data.sampling"),
    (NOT_NEGATIVE, "data.num_workers"),
    (SIZE, "PictureData.image_size"),
    (
        either("a list of transforms, each with its _target_", are_built),
        "PictureData.train_transforms PictureData.eval_transforms",
    ),
    (replace(SHARE, like=[0.5]), "PictureData.mean"),
    (replace(number(1e-6, 1), like=[0.5]), "PictureData.std"),
    (PART, "PictureData.subset"),
    (either("auto, true or false", lambda v: v == "auto" or isinstance(v, bool)), "PictureData.in_memory"),
    (words("auto", "cpu", "cuda"), "PictureData.device"),
    (words("crop", "squash"), "ImageFolder.fit"),
    (Rule("3 or 1", lambda v: v in (1, 3)), "ImageFolder.channels"),
    (words("refuse", "skip"), "ImageFolder.broken"),
    (BELOW_ONE, "ImageFolder.test_fraction ImageFolder.val_fraction"),
    (INSIDE_ONE, "Cifar10.val_fraction Digits.*_fraction SyntheticClassification.*_fraction"),
    (replace(FOLDER, says="a file"), "Table.file"),
    (ANY, "Table.stratify"),
    (COLUMN, "Table.target Table.drop Table.categories"),
    (replace(COLUMN, like="column"), "Table.id Table.group Table.time"),
    (replace(COLUMN, like=["column"]), "Table.columns"),
    (Rule("one character, or tab", lambda v: len(str(v)) == 1 or v == "tab"), "Table.delimiter"),
    (words("auto", "binary", "multiclass", "regression"), "Table.task"),
    (words("median", "mean", "most_frequent", "refuse"), "Table.missing"),
    (words("standard", "minmax", "robust", "none"), "Table.scaler"),
    (number(2), "Table.max_categories"),
    (INSIDE_ONE, "Table.*_fraction"),
    (NOT_NEGATIVE, "LinearRegression.noise SyntheticClassification.redundant"),
    (number(2), "LinearRegression.points LinearRegression.held_out_points SyntheticClassification.classes"),
    (POSITIVE, "LinearRegression.x_max SyntheticClassification.class_separation"),
    (number(4), "SyntheticClassification.samples"),
    (AT_LEAST_ONE, "SyntheticClassification.features SyntheticClassification.informative data.clusters_per_class"),
    (SHARE, "SyntheticClassification.label_noise"),
    (words("multiclass", "binary"), "SyntheticClassification.task"),
    (NOT_NEGATIVE, "augmentation.random_crop.padding augmentation.mixup.alpha augmentation.cutmix.alpha"),
    (words("reflect", "edge", "zero"), "augmentation.random_crop.mode"),
    (replace(AT_LEAST_ONE, like=16, null=True), "*augmentation.random_crop.size* augmentation.cutout.side"),
    (SHARE, "augmentation.*.probability augmentation.cutout.fraction"),
    (number(0, 180), "augmentation.rotation.degrees"),
    (number(0, 0.5), "augmentation.color_jitter.hue"),
    (NOT_NEGATIVE, "augmentation.color_jitter.*"),
    (AT_LEAST_ONE, "augmentation.cutout.count"),
    (number(-100, 100), "augmentation.cutout.fill"),
    (words("inside", "clipped"), "augmentation.cutout.placement"),
    # networks and losses
    (words("whitening", "convolution"), "FastResNet.stem"),
    (AT_LEAST_ONE, "FastResNet.stem_* FastResNet.widths FastResNet.residual_convolutions ResNet9.width"),
    (NOT_NEGATIVE, "FastResNet.depths"),
    (words("max_pool", "stride"), "FastResNet.downsample"),
    (words("relu", "gelu", "silu", "celu"), "FastResNet.activation"),
    (words("max", "mean"), "FastResNet.pool"),
    (SHARE, "FastResNet.batch_norm_momentum loss.label_smoothing"),
    (AT_LEAST_ONE, "SimpleNN.hidden_dims"),
    (words("relu", "leaky_relu", "sigmoid", "tanh", "gelu"), "SimpleNN.activation"),
    (BELOW_ONE, "model.dropout"),
    (POSITIVE, "loss.delta"),
    (either("balanced, or a list of weights of 0 or more, one a class", are_loss_weights), "loss.weight"),
    # optimizers and schedulers
    (either("patterns of weights with options, as in {bias:{lr:1e-2}}", are_groups), "optimizer.groups"),
    (either("steps (0 or more), or epochs as in 5epochs", is_warmup), "scheduler.warmup"),
    (replace(words("max", "min"), like="max"), "scheduler.mode"),
    (words("triangular", "triangular2", "exp_range"), "CyclicLR.mode"),
    (words("rel", "abs"), "scheduler.threshold_mode"),
    (INSIDE_ONE, "scheduler.factor"),
    (NOT_NEGATIVE, "scheduler.patience scheduler.cooldown scheduler.threshold scheduler.min_lr"),
    (POSITIVE, "optimizer.*lr optimizer.*eps"),
    (NOT_NEGATIVE, "optimizer.*weight_decay scheduler.eta_min"),
    (BELOW_ONE, "optimizer.*momentum"),
    (either("two numbers of 0 or more and below 1", are_betas), "optimizer.*betas"),
    (AT_LEAST_ONE, "optimizer.newton_schulz_steps scheduler.step_size scheduler.milestones"),
    (replace(AT_LEAST_ONE, like=100), "scheduler.T_max scheduler.total_steps scheduler.total_iters"),
    (POSITIVE, "scheduler.max_lr scheduler.gamma scheduler.*div_factor"),
    (INSIDE_ONE, "scheduler.pct_start"),
    (words("cos", "linear"), "OneCycleLR.anneal_strategy"),
    (PART, "LinearLR.start_factor"),
    (SHARE, "LinearLR.end_factor"),
    # Lightning's Trainer
    (Rule(f"1 or more, up to 1000000000 ({MAX_STEPS})", lambda v: 1 <= v <= 10**9), "trainer.max_epochs"),
    (Rule("-1 (no limit) or 1 or more", lambda v: v == -1 or v >= 1), "trainer.max_steps"),
    (either("DD:HH:MM:SS, as in 00:01:30:00, and more than nothing", is_time), "trainer.max_time"),
    (words(*PRECISIONS), "trainer.precision"),
    (words("auto", "cpu", "gpu", "cuda", "mps", "tpu"), "trainer.accelerator"),
    (either("1 or more, a list of devices, -1 or auto (all)", are_devices), "trainer.devices"),
    (named("auto, ddp, fsdp or deepspeed", STRATEGIES), "trainer.strategy"),
    (named("simple or advanced, or a _target_", "simple|advanced|pytorch"), "trainer.profiler"),
    (batches(none=True), "trainer.limit_val_batches trainer.overfit_batches"),
    (batches(none=False), "trainer.limit_*_batches trainer.val_check_interval"),
    (AT_LEAST_ONE, "trainer.check_val_every_n_epoch trainer.accumulate_grad_batches trainer.num_nodes"),
    (replace(NOT_NEGATIVE, like=1.0), "trainer.gradient_clip_val"),
    (replace(words("norm", "value"), like="norm"), "trainer.gradient_clip_algorithm"),
    # callbacks
    (NOT_NEGATIVE, "EarlyStopping.patience EarlyStopping.min_delta ChromeTrace.skip"),
    (NOT_NEGATIVE, "Checkpoints.every_seconds Progress.every_seconds"),
    (AT_LEAST_ONE, "Checkpoints.save_top_k AugmentedGrid.count EMA.every_n_steps Gradients.every_n_steps"),
    (number(2), "Throughput.window"),
    (AT_LEAST_ONE, "GradCheck.* ChromeTrace.steps BeforeAndAfter.*"),
    (words("power", "binsearch"), "BatchSizeFinder.mode"),
    (AT_LEAST_ONE, "BatchSizeFinder.*"),
    (INSIDE_ONE, "EMA.decay"),
    (BELOW_ONE, "SWA.start"),
    (replace(NOT_NEGATIVE, like=1, null=True), "Freeze.until_epoch"),
    (NOT_NEGATIVE, "Freeze.from_epoch"),
    (replace(ANY, like=["stem"], null=True), "Freeze.layers"),
    (POSITIVE, "LearningRateFinder.min_lr LearningRateFinder.max_lr"),
    (number(20), "LearningRateFinder.steps"),
    (replace(number(1, above=True), null=True), "LearningRateFinder.stop_above"),
    # of a finished run
    (words("best", "last"), "checkpoint"),
    (INSIDE_ONE, "confidence"),
    (replace(words("onnx", "torch_export", "safetensors"), like="onnx"), "export"),
    (
        either(
            "a file, a folder or a list of them",
            lambda v: all(isinstance(item, str) and item for item in (v if isinstance(v, list) else [v])),
        ),
        "inputs explain.inputs",
    ),
    (words("predicted", "actual"), "explain.target"),
    (PART, "explain.side"),
    (number(1, 64), "explain.samples"),  # that one page shows
    (AT_LEAST_ONE, "explain.steps explain.repeats"),
    (number(1, 1000), "explain.bins"),
)
PICTURES = ("Cifar10", "ImageFolder")  # these are PictureData
RULES = {key: rule for rule, keys in (*TABLE, *SWEEPS) for key in keys.split()}
PATTERNS = {key: rule for key, rule in RULES.items() if "*" in key}


@functools.cache
def rule_of(key: str, target: str) -> Rule | None:
    """Return what there is to say about a key. target: of the class whose parameter it is, if it is one's."""
    root, _, name = target.partition(".")
    names = []
    if root in ("gradloop", "torch", "lightning"):
        built = name.rpartition(".")[2]
        parameter = key.rpartition(".")[2]
        names = [f"{kind}.{parameter}" for kind in (built, *(["PictureData"] if built in PICTURES else []))]
    for candidate in (*names, key):
        if candidate in RULES:
            return RULES[candidate]
        for pattern, rule in PATTERNS.items():
            if fnmatch.fnmatchcase(candidate, pattern):
                return rule
    return None
