# Parallel Python (ppft), two local workers. It has no map: all at once is submit and fetch.
import ppft

from farm import answer, chunks, noop, noops, one_by_one

if __name__ == "__main__":
    server = ppft.Server(2, ppservers=())
    answer({
        "single": one_by_one(lambda i: server.submit(noop, (i,))()),
        "gather": lambda n: [job() for job in [server.submit(noop, (i,)) for i in range(n)]],
        "chunked": lambda n: [job() for job in [server.submit(noops, (c,), (noop,)) for c in chunks(n)]],
    })
    server.destroy()
