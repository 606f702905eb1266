"""The training loop: batches, turns of several, epochs, and where a run stands."""
