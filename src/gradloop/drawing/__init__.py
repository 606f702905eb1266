"""Pictures of a run, from plain numbers: nothing here imports torch, so that a process beside can draw."""
