"""Language-model plumbing: load, lay out, read log-probabilities and scores, sample. It judges nothing."""
