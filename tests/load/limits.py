"""What may grow, per 1,000 steps, pictures or cycles; the same for short runs and for long ones."""

#: Of 1,000 steps. A tensor that every step keeps is 1,000 tensors, a number that every step keeps 1,000 blocks. Memory
#: in MiB: a hundred bytes a step.
STEPS = {"memory": 0.1, "tensors": 10, "blocks": 200, "threads": 0, "files": 0}
#: The same of a short run, in which Python, torch and TensorBoard fill caches. A picture of 40x30 pixels that every
#: step keeps would be 14 MiB.
FIRST_STEPS = {"memory": 5.0, "tensors": 10, "blocks": 2_000, "threads": 0, "files": 0}
#: Of 1,000 pictures, at rest. 1,000 pictures that are kept would be 50 MiB even as JPEG. viser's pool has up to
#: `POOL_THREADS` threads, begun one by one.
PICTURES = {"memory": 5.0, "tensors": 10, "blocks": 5_000, "files": 0}
POOL_THREADS = 32
#: Of 1,000 cycles: stores that were let go leave nothing. Memory would be 220 MiB if a frame of 320x240 pixels stayed
#: of each; in 50 cycles one jump of the C library's weighs much.
CYCLES = {"memory": 50.0, "tensors": 0, "blocks": 2_000, "threads": 0, "files": 0, "maps": 0}
