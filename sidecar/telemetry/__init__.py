"""Telemetry: two readers of the core's events, one that counts and one that writes lines.

Owns names, labels and units of metrics, and the form of log lines. The only importer of prometheus_client.
Refuses to know where events come from and how metrics are served; nothing here changes what the sidecar does.
"""
