# multiprocessing.Pool, two workers.
import multiprocessing

from farm import answer, noop, one_by_one

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        answer({
            "single": one_by_one(lambda i: pool.apply(noop, (i,))),
            "windowed": lambda n: sum(pool.imap(noop, range(n))),
            "gather": lambda n: [r.get() for r in [pool.apply_async(noop, (i,)) for i in range(n)]],
            "chunked": lambda n: sum(pool.map(noop, range(n), chunksize=1000)),
        })
