"""What only a GPU can show: plans by TensorRT, held against torch and timed beside what else that GPU can do.

`subjects` says what is measured, `making` builds it, `runtime` runs it, `timing` compares speeds, `baseline`, `ceiling`
and `serving` are what it is compared with, `measuring` is one encoder from its weights to its rows, `records` keeps
them, `page` tells them. Everything takes its device as an argument: tests run it on a processor.
"""
