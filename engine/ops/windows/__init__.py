"""Convolution, pooling and unfolding: ops on sliding windows."""
