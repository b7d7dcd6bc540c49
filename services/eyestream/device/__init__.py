"""What runs beside the camera: reads picture files, strips them, spools them and sends them to Kafka."""

from __future__ import annotations
