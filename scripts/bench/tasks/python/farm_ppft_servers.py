# Parallel Python (ppft), the workers of two of its servers on other machines.
import time

import ppft

from farm import answer, chunks, noop, noops, one_by_one

if __name__ == "__main__":
    names = ("node1:60001", "node2:60001")
    server = ppft.Server(0, ppservers=names, secret="lab")
    while len(server.get_active_nodes()) <= len(names):
        time.sleep(0.1)
    answer({
        "single": one_by_one(lambda i: server.submit(noop, (i,))()),
        "gather": lambda n: [job() for job in [server.submit(noop, (i,)) for i in range(n)]],
        "chunked": lambda n: [job() for job in [server.submit(noops, (c,), (noop,)) for c in chunks(n)]],
    })
    server.destroy()
