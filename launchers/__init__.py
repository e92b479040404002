"""What carries a plan out: on this machine, or on a cluster."""
