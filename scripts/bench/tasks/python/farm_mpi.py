# mpi4py.futures, two workers: mpiexec -n 3 python3 -m mpi4py.futures farm_mpi.py
from farm import answer, noop, one_by_one
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        answer({
            "single": one_by_one(lambda i: pool.submit(noop, i).result()),
            "windowed": lambda n: sum(pool.map(noop, range(n))),
            "gather": lambda n: [f.result() for f in [pool.submit(noop, i) for i in range(n)]],
            "chunked": lambda n: sum(pool.map(noop, range(n), chunksize=1000)),
        })
