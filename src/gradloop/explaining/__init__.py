"""The pages of `gradloop-explain`: why a trained model answers as it does."""
