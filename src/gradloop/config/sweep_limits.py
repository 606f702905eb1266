"""What the knobs of a sweep and of its engines accept."""

from dataclasses import replace

from gradloop.config.rules import (
    ANY,
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    Rule,
    at_least,
    either,
    is_whole,
    number,
    words,
)

LAUNCHER = "hydra.launcher."
POPULATION = "auto, off, exact, or how many at most (1 or more)"
TEXT = Rule("a word", lambda v: isinstance(v, str) and v != "")
ENGINES: tuple[tuple[Rule, str], ...] = (
    (Rule("1 or more, or -1 for as many as there are cores, -2 for one less", lambda v: v != 0), "n_jobs"),
    (words("slurm", "local"), "cluster"),
    (AT_LEAST_ONE, "array_parallelism timeout_min signal_delay_s cpus_per_task tasks_per_node nodes"),
    (NOT_NEGATIVE, "max_num_timeout"),
    (replace(AT_LEAST_ONE, like=1), "gpus_per_node"),
    (at_least(0.001), "num_cpus mem_gb"),
    (at_least(0), "num_gpus"),
    (at_least(1), "memory timeout_s"),
    (replace(ANY, like="auto"), "address"),
    (replace(ANY, like="gpu"), "partition qos account constraint"),
    (replace(TEXT, like=["hostname"]), "setup"),
)
SWEEPS: tuple[tuple[Rule, str], ...] = (
    *((rule, " ".join(LAUNCHER + name for name in names.split())) for rule, names in ENGINES),
    (words("grid", "random", "optuna"), "sweep.method"),
    (either(POPULATION, lambda v: is_whole(v, 1) or v is False or v in ("auto", "off", "exact")), "sweep.population"),
    (replace(AT_LEAST_ONE, like=4), "sweep.batch sweep.n_trials"),
    (replace(TEXT, like=["test/accuracy"]), "sweep.objectives"),
    (replace(words("maximize", "minimize"), like=["maximize"]), "sweep.directions"),
    (replace(TEXT, like="my_study"), "sweep.study"),
    (replace(TEXT, like="sqlite:///study.db"), "sweep.storage"),
    (replace(ANY, like="last"), "sweep.resume"),
    (replace(number(2), like=3), "sweep.reduction_factor"),
    (replace(words("median", "asha", "hyperband"), like="median", null=True), "sweep.pruner"),
    (NOT_NEGATIVE, "sweep.sampler.startup sweep.startup_trials sweep.warmup_epochs sweep.retries"),
)
