"""From results to tables: reads stores, never logs."""
