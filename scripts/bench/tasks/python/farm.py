# The function that all peers call, and the talk with the benchmark: a line "CASE CALLS" in, the seconds it took and the
# median and 99th percentile of its round trips out.
import sys
import time


def noop(n):
    return n


def noops(ns):
    return [noop(n) for n in ns]


def chunks(n, size=1000):
    return [list(range(i, min(i + size, n))) for i in range(0, n, size)]


def one_by_one(call):
    def run(n):
        trips = []
        for i in range(n):
            start = time.perf_counter()
            call(i)
            trips.append(time.perf_counter() - start)
        return sorted(trips)
    return run


def answer(cases):
    print("ready", flush=True)
    for line in sys.stdin:
        name, n = line.split()
        if name not in cases:
            print("none", flush=True)
            continue
        start = time.perf_counter()
        trips = cases[name](int(n))
        took = time.perf_counter() - start
        if isinstance(trips, list) and name == "single":
            print(took, trips[len(trips) // 2], trips[len(trips) * 99 // 100], flush=True)
        else:
            print(took, flush=True)
