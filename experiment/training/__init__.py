"""What the training stages share: chat format, base models, the training loop, preflight checks."""
