"""The results service: what people and other systems ask over HTTP. Knows Redis, Kafka and Triton by their seams."""
