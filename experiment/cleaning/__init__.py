"""Rules that tell a bad translation from a good one, and the count of what they throw away."""
