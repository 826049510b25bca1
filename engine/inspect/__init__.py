"""Descriptions of graphs and ops: the DAG, the catalogue, anomalies, NaN gradients."""
