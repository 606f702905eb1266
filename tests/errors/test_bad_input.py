"""Mistakes: each has its exit code and one line that says what to do, and none creates anything."""

from __future__ import annotations

import pytest

from one_line import assert_one_line, listing

EARLY = "+callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping"

# (command line, exit code, words that the line must hold)
MISTAKES: list[tuple[str, int, list[str]]] = [
    # a choice that there is not, in every group
    ("data=digts", 2, ["data=digts", "did you mean 'digits'?"]),
    ("augmentation=cutot", 2, ["augmentation=cutot", "'cutout'"]),
    ("model=simple", 2, ["model=simple", "linear", "'simple_nn'"]),
    ("loss=crossentropy", 2, ["loss=crossentropy", "'cross_entropy'"]),
    ("optimizer=admw", 2, ["optimizer=admw", "adam, adamw, muon, sgd", "'adamw'"]),
    ("scheduler=cosin", 2, ["scheduler=cosin", "'cosine'"]),
    ("trainer=defalt", 2, ["trainer=defalt", "'default'"]),
    ("accelerator=gpuu", 2, ["accelerator=gpuu", "'gpu'"]),
    ("callbacks=defaults", 2, ["callbacks=defaults", "'default'"]),
    ("logger=tensorbord", 2, ["logger=tensorbord", "'tensorboard'"]),
    ("experiment=lesson/1_autogrd", 2, ["experiment=lesson/1_autogrd:", "did you mean 'lesson/1_autograd'?"]),
    ("debug=overfitt", 2, ["debug=overfitt", "'overfit'"]),
    ("hydra=defualt", 2, ["hydra=defualt", "'default'"]),
    ("sweep=optun", 2, ["sweep=optun", "'optuna'"]),
    ("optimizer=muon optimizer.bias_lr=0", 2, ["optimizer.bias_lr=0", "more than 0"]),
    ("optimizer=muon optimizer.newton_schulz_steps=0", 2, ["optimizer.newton_schulz_steps=0", "1 or more"]),
    ("test_time_shift=-1", 2, ["test_time_shift=-1", "0 or more"]),
    ("data=digits test_time_shift=8", 2, ["test_time_shift=8", "8 pixels"]),
    ("optimizer=3", 2, ["optimizer=3", "expected one of adam, adamw, muon, sgd"]),
    ("model=null", 2, ["model=null", "expected one of"]),
    # a key that there is not, with and without +
    ("dat=digits", 2, ["'dat'", "did you mean 'data'?"]),
    ("optimizer.lrr=1", 2, ["'optimizer.lrr'", "'optimizer.lr'"]),
    ("+optimizer.lrr=1", 2, ["'optimizer.lrr'", "Adam", "'lr'"]),
    ("model.hiden_dims=[3]", 2, ["'model.hiden_dims'", "'model.hidden_dims'"]),
    ("+model.hidden=3", 2, ["'model.hidden'", "SimpleNN", "'hidden_dims'"]),
    ("trainer.max_epoch=3", 2, ["'trainer.max_epoch'", "'trainer.max_epochs'"]),
    ("+trainer.max_epoch=3", 2, ["'trainer.max_epoch'", "'max_epochs'"]),
    ("+data.sample=1", 2, ["'data.sample'", "'samples'"]),
    ("+loss.smoothing=0.1", 2, ["'loss.smoothing'", "'label_smoothing'"]),
    ("scheduler=cosine +scheduler.eta_mn=1", 2, ["'scheduler.eta_mn'", "'eta_min'"]),
    ("+scheduler.gamma=1", 2, ["'scheduler.gamma'", "constant"]),
    ("+callbacks.progress.every=1", 2, ["'callbacks.progress.every'", "did you mean 'every_seconds'?"]),
    ("+callbacks.early=3", 2, ["callbacks.early=3", "_target_"]),
    ("+logger.tensorboard.dir=1", 2, ["'logger.tensorboard.dir'", "it takes save_dir"]),
    ("+sed=1", 2, ["'sed'", "'seed'"]),
    ("foo=1", 2, ["'foo'", "no such key"]),
    ("hydra.run.dri=1", 2, ["'hydra.run.dri'", "'hydra.run.dir'"]),
    ("optimizer.momentum=0.9", 2, ["'optimizer.momentum'", "optimizer=sgd has"]),
    ("loss.label_smoothing=0.1", 2, ["'loss.label_smoothing'", "loss=cross_entropy has"]),
    # what can't be taken away
    ("~data", 2, ["'data'", "choose one with data="]),
    ("~trainer", 2, ["'trainer._target_'"]),
    ("~logger", 2, ["'logger'", "logger=none"]),
    ("~foo", 2, ["'foo'"]),
    # types
    ("optimizer.lr=fast", 2, ["optimizer.lr=fast", "number"]),
    ("optimizer.lr=", 2, ["optimizer.lr=", "number", "nothing"]),
    ("optimizer.lr=true", 2, ["optimizer.lr=True", "number"]),
    ("optimizer.lr=[1]", 2, ["optimizer.lr=[1]", "number"]),
    ("optimizer.betas=0.9", 2, ["optimizer.betas=0.9", "list"]),
    ("optimizer.betas=[a,b]", 2, ["optimizer.betas[0]=a", "number"]),
    ("optimizer.fused=maybe", 2, ["optimizer.fused=maybe", "true or false"]),
    ("trainer.max_epochs=1.5", 2, ["trainer.max_epochs=1.5", "whole number"]),
    ("trainer.max_epochs=ten", 2, ["trainer.max_epochs=ten", "whole number"]),
    ("trainer.max_epochs=", 2, ["trainer.max_epochs=", "whole number"]),
    ("trainer.max_epochs=null", 2, ["trainer.max_epochs=", "whole number"]),
    ("data.batch_size=1e3", 2, ["data.batch_size=1000.0", "whole number", "=1000)"]),
    ("data.batch_size=null", 2, ["data.batch_size=", "whole number"]),
    ("data.batch_size=many", 2, ["data.batch_size=many", "whole number"]),
    ("seed=abc", 2, ["seed=abc", "whole number"]),
    ("seed=1.5", 2, ["seed=1.5", "whole number"]),
    ("seed=", 2, ["seed=", "whole number"]),
    ("model.hidden_dims=64", 2, ["model.hidden_dims=64", "list", "[64]"]),
    ("model.hidden_dims=[a]", 2, ["model.hidden_dims[0]=a", "whole number"]),
    ("trainer.gradient_clip_val=abc", 2, ["trainer.gradient_clip_val=abc", "number"]),
    ("monitor=3", 2, ["monitor=3", "val/accuracy"]),
    ("epoch_metrics=accuracy", 2, ["epoch_metrics=accuracy", "[accuracy]"]),
    ("allow=my_models", 2, ["allow=my_models", "list"]),
    # ranges
    ("optimizer.lr=-1", 2, ["optimizer.lr=-1", "more than 0"]),
    ("optimizer.lr=nan", 2, ["optimizer.lr=nan", "finite"]),
    ("optimizer.lr=inf", 2, ["optimizer.lr=inf", "finite"]),
    ("optimizer=sgd optimizer.momentum=1", 2, ["optimizer.momentum=1", "below 1"]),
    ("optimizer=sgd optimizer.nesterov=true", 2, ["optimizer", "Nesterov", "momentum"]),
    ("optimizer.betas=[0.9,2]", 2, ["optimizer", "beta"]),
    ("optimizer.betas=[0.9]", 2, ["optimizer"]),
    ("trainer.max_epochs=0", 2, ["trainer.max_epochs=0", "1 or more"]),
    ("trainer.limit_train_batches=0", 2, ["trainer.limit_train_batches=0", "above 0"]),
    ("trainer.limit_train_batches=0.01", 2, ["trainer.limit_train_batches=0.01", "not even one"]),
    ("trainer.limit_val_batches=1.5", 2, ["trainer.limit_val_batches=1.5", "0 to 1.0"]),
    ("trainer.val_check_interval=1000", 2, ["trainer.val_check_interval=1000", "20 batches"]),
    ("trainer.precision=17", 2, ["trainer.precision=17", "32-true", "bf16-mixed"]),
    ("trainer.max_time=soon", 2, ["trainer.max_time=soon", "DD:HH:MM:SS"]),
    ("trainer.accumulate_grad_batches=0", 2, ["trainer.accumulate_grad_batches=0", "1 or more"]),
    ("trainer.profiler=foo", 2, ["trainer", "profiler", "simple"]),
    ("trainer.strategy=foo", 2, ["trainer", "strategy", "foo", "ddp"]),
    ("trainer.devices=0", 2, ["trainer.devices=0", "1 or more"]),
    ("trainer.devices=1000", 2, ["trainer.devices=1000", "cores"]),
    ("trainer.devices=two", 2, ["trainer.devices=two", "auto"]),
    ("data.batch_size=0", 2, ["data.batch_size=0", "1 or more"]),
    ("data.batch_size=100000", 2, ["data.batch_size=100000", "640 samples"]),
    ("seed=-1", 2, ["seed=-1", "0 to 4294967295"]),
    ("seed=4294967296", 2, ["seed=4294967296", "4294967295"]),
    ("threads=0", 2, ["threads=0", "1 or more"]),
    ("threads=many", 2, ["threads=many", "auto"]),
    ("model.dropout=1", 2, ["model.dropout=1", "below 1"]),
    ("model.hidden_dims=[0]", 2, ["model.hidden_dims[0]=0", "1 or more"]),
    ("model.activation=rel", 2, ["model.activation=rel", "'relu'"]),
    ("loss=huber loss.delta=0", 2, ["loss.delta=0", "more than 0"]),
    ("scheduler=step scheduler.step_size=0", 2, ["scheduler.step_size=0", "1 or more"]),
    ("scheduler=cosine scheduler.T_max=0", 2, ["scheduler.T_max=0", "1 or more"]),
    ("scheduler=one_cycle scheduler.pct_start=2", 2, ["scheduler.pct_start=2", "below 1"]),
    ("scheduler=one_cycle scheduler.total_steps=3", 2, ["scheduler.total_steps=3", "400 steps"]),
    ("scheduler=one_cycle scheduler.anneal_strategy=foo", 2, ["scheduler.anneal_strategy=foo", "cos or linear"]),
    ("callbacks.checkpoints.save_top_k=0", 2, ["callbacks.checkpoints.save_top_k=0", "1 or more"]),
    ("callbacks=[default,early_stopping] callbacks.early_stopping.patience=-1", 2, ["patience=-1", "0 or more"]),
    (f"{EARLY} +callbacks.early.monitor=val/loss +callbacks.early.mode=up", 2, ["callbacks.early", "mode"]),
    # a monitor that is never logged
    ("monitor=val/acc", 2, ["monitor=val/acc", "never measured", "'val/accuracy'"]),
    ("monitor=val/f1", 2, ["monitor=val/f1", "never measured", "epoch_metrics"]),
    (f"{EARLY} +callbacks.early.monitor=val/los", 2, ["callbacks.early.monitor=val/los", "'val/loss'"]),
    ("monitor_mode=maximal", 2, ["monitor_mode=maximal", "max or min"]),
    ("epoch_metrics=[acc]", 2, ["epoch_metrics[0]=acc", "accuracy"]),
    # data
    ("data.classes=1", 2, ["data.classes=1", "2 or more"]),
    ("data.samples=3", 2, ["data.samples=3", "4 or more"]),
    ("data.samples=10", 2, ["data.batch_size=32", "6 samples"]),
    ("data.test_fraction=1.5", 2, ["data.test_fraction=1.5", "below 1"]),
    ("data.test_fraction=0.9999", 2, ["data.test_fraction=0.9999", "1000 samples"]),
    ("data.features=1", 2, ["data.features=1", "informative"]),
    ("data.informative=1", 2, ["data.informative=1", "raise data.informative"]),
    ("data.label_noise=2", 2, ["data.label_noise=2", "0 to 1"]),
    ("data.random_state=-1", 2, ["data.random_state=-1", "0 to"]),
    ("data.task=ternary", 2, ["data.task=ternary", "multiclass or binary"]),
    ("data.task=binary data.classes=3", 2, ["data.task=binary", "data.classes=2"]),
    ("data=linear_regression data.points=1", 2, ["data.points=1", "2 or more"]),
    ("data=linear_regression data.batch_size=6", 2, ["data.batch_size=6", "5 samples"]),
    ("data=image_folder", 2, ["'data.root'", "data.root=…"]),
    ("data=image_folder data.root=nowhere", 3, ["nowhere"]),
    ("data=image_folder data.root=/dev/null", 3, ["/dev/null", "folder"]),
    ("data.sampling=balance", 2, ["data.sampling=balance", "balanced, or a list"]),
    ("data.sampling=[1,-1]", 2, ["data.sampling=[1, -1]", "0 or more"]),
    ("data.sampling=[1,1,1]", 2, ["data.sampling", "2 weights, one a class"]),
    ("data.sampling=balanced data.shuffle=false", 2, ["data.sampling", "data.shuffle=true"]),
    ("folds=5", 2, ["folds=5", "-m", "data.fold=0"]),
    ("folds=1 data.fold=0", 2, ["folds=1", "2 or more"]),
    ("folds=5 data.fold=5", 2, ["data.fold=5", "folds=5"]),
    ("data.fold=0", 2, ["data.fold=0", "folds=None"]),
    ("data=linear_regression folds=5", 2, ["folds=5", "data=linear_regression takes no folds", "digits"]),
    ("-m folds=2,3", 2, ["folds=2,3", "can't be varied"]),
    # what does not fit together
    ("loss=mse", 2, ["MSELoss", "regression", "multiclass", "loss=cross_entropy"]),
    ("loss=bce_with_logits", 2, ["binary", "loss=cross_entropy", "data.task=binary"]),
    ("data=linear_regression loss=cross_entropy", 2, ["multiclass", "loss=mse or l1 or huber"]),
    ("data.task=binary loss=cross_entropy", 2, ["binary", "loss=bce_with_logits"]),
    ("loss._target_=torch.nn.NLLLoss", 2, ["NLLLoss", "logits", "loss=cross_entropy"]),
    ("loss._target_=torch.nn.functional.mse_loss", 2, ["mse_loss", "loss=cross_entropy"]),
    ("loss._target_=torch.nn.MultiLabelMarginLoss", 2, ["MultiLabelMarginLoss", "loss=cross_entropy"]),
    ("model._target_=torch.nn.ReLU", 2, ["ReLU", "(2, 2)"]),
    ("model._target_=torch.nn.Linear +model.wide=1", 2, ["'model.wide'", "Linear", "in_features"]),
    ("model=resnet9", 2, ["model", "(20,)"]),
    ("scheduler._target_=torch.nn.Linear", 2, ["scheduler", "Linear"]),
    ("optimizer._target_=torch.nn.Linear", 2, ["Linear", "torch.optim.Optimizer"]),
    # the grammar
    ("seed=1,2", 2, ["seed=1,2", "-m"]),
    ("seed=[1", 2, ["seed=[1", "can't be read"]),
    ("seed", 2, ["seed", "expected key=value"]),
    ("=3", 2, ["=3", "expected key=value"]),
    ("seed=${oc.env:GRADLOOP_NOT_SET}", 2, ["'seed'", "GRADLOOP_NOT_SET is not set"]),
    ("name=${nope}", 2, ["'name'", "nope"]),
    ("-x", 2, ["-x", "--help"]),
    ("--foo", 2, ["--foo"]),
    ("--multrun", 2, ["--multrun", "'--multirun'"]),
    ("--config-name=trian", 2, ["--config-name=trian", "'train'"]),
    ("--config-dir=nowhere", 2, ["--config-dir=nowhere", "no such folder"]),
    ("--cfg job dat=3", 2, ["'dat'", "'data'"]),
    # sweeps, before their first job
    ("-m seed=1,2 optimizer.lrr=1,2", 2, ["'optimizer.lrr'", "'optimizer.lr'"]),
    ("-m optimizer=adam,sdg", 2, ["optimizer=sdg", "'sgd'"]),
    ("-m optimizer.lr=0.1,slow", 2, ["optimizer.lr=slow", "number"]),
    ("-m optimizer.lr=0.1,-1", 2, ["optimizer.lr=-1", "more than 0"]),
    ("-m dat=digits", 2, ["'dat'", "'data'"]),
    ("-m seeds=1,2", 2, ["seeds=1,2", "seeds=[…]"]),
    ("-m seed=4294967295 seeds=2", 2, ["seeds=2", "seed=4294967295", "end at 4294967295"]),
    ("-m sweep=grid,random", 2, ["sweep=grid,random", "can't be varied"]),
    ("-m resume=last seed=1,2", 2, ["resume=last", "sweep.resume="]),
    ("-m optimizer.lr=range(0)", 2, ["optimizer.lr=range(0)", "no value"]),
    ("-m optimizer.lr=glob(*)", 2, ["optimizer.lr=glob(*)", "no group"]),
    ("-m seed=1,2 hydra.launcher.n_jobs=0", 2, ["hydra.launcher.n_jobs=0", "1 or more"]),
    ("-m seed=1,2 hydra.launcher.n_jobs=two", 2, ["hydra.launcher.n_jobs=two", "1 or more"]),
    ("-m seed=1,2 hydra/launcher=joblib", 2, ["joblib", "hydra/launcher=processes hydra.launcher.n_jobs=2"]),
    ("-m seed=1,2 hydra/launcher=submitit_slurm", 2, ["submitit_slurm", "take hydra/launcher=slurm"]),
    ("-m seed=1,2 hydra/launcher=submitit_local", 2, ["submitit_local", "hydra.launcher.cluster=local"]),
    ("-m seed=1,2 hydra/launcher=basic", 2, ["basic", "take hydra/launcher=processes"]),
    ("-m seed=1,2 hydra/launcher=processes,slurm", 2, ["can't be varied"]),
    ("-m seed=1,2 hydra.sweep.dir=a,b", 2, ["hydra.sweep.dir=a,b", "can't be varied"]),
    ("-m seed=1,2 hydra/sweeper=basic", 2, ["hydra/sweeper=basic", "not done here"]),
    ("-m seed=1,2 hydra/job_logging=default", 2, ["hydra/job_logging=default", "not done here"]),
    (
        "-m seed=1,2 hydra/launcher=slurm hydra.launcher.cluster=pbs",
        2,
        ["hydra.launcher.cluster=pbs", "slurm or local"],
    ),
    (
        "-m seed=1,2 hydra/launcher=slurm hydra.launcher.timeout_min=x",
        2,
        ["hydra.launcher.timeout_min=x", "1 or more"],
    ),
    # names and folders
    ("name=../x", 2, ["name='../x'", "letters"]),
    ("name=/etc/x", 2, ["name='/etc/x'", "letters"]),
    ("name=a/b", 2, ["name='a/b'", "letters"]),
    ("name=..", 2, ["name='..'", "letters"]),
    ("name=", 2, ["name=''", "letters"]),
    ("name=one\ntwo", 2, ["line break"]),
    ("output_dir=", 2, ["output_dir=", "folder"]),
    ("output_dir=/dev/null/x", 4, ["/dev/null is not a folder"]),
    ("hydra.run.dir=", 2, ["hydra.run.dir=", "folder"]),
    ("hydra.run.dir=/dev/null/x", 4, ["/dev/null is not a folder"]),
    ("resume=nowhere", 4, ["resume=nowhere", "no such run folder"]),
    ("resume=", 4, ["resume=", "no such run folder"]),
    ("experiment=lesson", 2, ["experiment=lesson: no such choice", "did you mean 'lesson/1_autograd'?"]),
    ("loss=bce", 2, ["loss=bce: no such choice", "did you mean 'bce_with_logits'?"]),
    ("resume=last", 4, ["resume=last", "no run"]),
    ("resume=.", 4, ["no run here"]),
    ("+trainer.default_root_dir=/tmp", 2, ["trainer.default_root_dir=/tmp", "inside the run's own"]),
    # the machine
    ("accelerator=gpu", 2, ["accelerator=gpu", "no GPU", "accelerator=cpu"]),
]


@pytest.mark.parametrize(("line", "code", "words"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_gets_one_line_and_creates_nothing(line, code, words, command, tmp_path):
    if line == "accelerator=gpu":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has one")
    before = listing(tmp_path)
    arguments = [line] if "\n" in line else line.split()
    assert_one_line(command(*arguments), code, words)
    assert listing(tmp_path) == before


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 60
    assert len({line for line, _, _ in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("knob", ["test_time_flip=true", "test_time_shift=1", "channels_last=true"])
def test_what_is_done_to_pictures_is_refused_for_tables(knob, command):
    ended = command(knob)
    assert ended.code == 2
    assert "is for pictures, not for data of shape (20,)" in ended.err
