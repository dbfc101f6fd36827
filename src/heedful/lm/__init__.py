"""Language-model plumbing: load, lay out, read log-probabilities and scores, sample. No idea of what is good."""
