"""Many small runs of a sweep trained as one stack, each with the very bits that it has alone."""
