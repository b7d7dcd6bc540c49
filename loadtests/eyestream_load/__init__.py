"""Load tests of a whole line: devices, Triton clients and readers at a stated rate, counted to the last picture.

Data flows one way: a scenario gives arrivals, users send them through child programs, those tell what happened, the
books add it up, the report prints it. Only `users` and `hooks` know Locust; only the child programs know Kafka, Triton
and Redis.
"""
