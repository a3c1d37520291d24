"""Speed, memory and start-up of this program, each measured in a process of its own.

    python -m benchmarks.run [train|sample|startup|memory|data|serve]

`run` starts the processes one after another and makes the tables; the other modules named after a
measurement are what those processes run.
"""
