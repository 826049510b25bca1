"""The structure of requests and replies, without the tensors' values: what is read, and what the description says."""
