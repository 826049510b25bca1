"""What makes a plan cheaper than the graph as it was written, without changing what it computes."""
