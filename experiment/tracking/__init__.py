"""W&B beside the artifacts: fed by a process of its own, so that nothing W&B does can reach a step."""
