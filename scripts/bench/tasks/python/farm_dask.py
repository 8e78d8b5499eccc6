# Dask distributed, two worker processes of one thread.
import logging
import warnings

from farm import answer, chunks, noop, noops, one_by_one

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    from distributed import Client, LocalCluster
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, \
            Client(cluster) as client:
        answer({
            "single": one_by_one(lambda i: client.submit(noop, i, pure=False).result()),
            "windowed": lambda n: client.gather(client.map(noop, range(n), pure=False)),
            "gather": lambda n: client.gather([client.submit(noop, i, pure=False) for i in range(n)]),
            "chunked": lambda n: client.gather(client.map(noops, chunks(n), pure=False)),
        })
