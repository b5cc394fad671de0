"""One file for each implementation; a process imports one of them, so that its import and memory are its own.

Each has a function for every workload that it can do. It takes the `Worker` and returns the step, a function that takes
a batch (N, 2), updates the parameters and returns the loss, and the number of parameters.
"""
