// Package comm runs Go functions on every core of every machine that pprun started. The same program runs unchanged
// without pprun: then it is rank 0 of 1, and tasks run on GOMAXPROCS goroutines.
//
// A program registers functions by name and calls Main. Rank 0 submits calls of them, and every rank runs some:
//
//	var SumPrimes = comm.Register("sum_primes", sumPrimes) // func(ctx context.Context, n int) (int, error)
//
//	func main() { comm.Main(run) }
//
//	func run(ctx context.Context, c *comm.Comm) error {
//		f := SumPrimes.Submit(ctx, 100) // a *comm.Future[int]
//		n, err := f.Get(ctx)
//		...
//		for r, err := range SumPrimes.Map(ctx, slices.Values(inputs)) { ... } // in order, lazy, bounded
//	}
//
// Init is for programs in which every rank does its own part (SPMD): there each rank may submit, and package coll has
// messages and collectives.
//
// Ranks are processes, and share no memory. Closures do not travel, and a package-level variable that run sets on rank 0
// is still unset on all others: what a function needs goes into its argument, or, if many calls need it, to Share; what
// each rank can make by itself, it makes with Once.
//
// # Errors
//
// A function that returns an error or panics gives a *TaskError, with the stack of the panic; its rank lives on. Errors
// given to RegisterError, and the common ones of the standard library, are found by errors.Is in the error of a task that
// ran elsewhere, and those of types given to RegisterErrorType by errors.As, wrapped and joined as they may be.
//
// A rank of Main above 0 may die: what it ran is run again on another, from its beginning, so a function must bear to be
// run twice; its result still comes once. A task fails with a *LostError if it has lost three ranks, or if nobody is left
// to run it. pprun starts a lost rank again, as the flags --respawn and --on-fail say. The death of rank 0, or of a rank
// that called Init, gives a *LostError to whatever was pending, in every rank.
//
// # Contexts
//
// The context of Submit covers the task: when it ends, a waiting task is dropped, and the context of a running function
// ends. The context of Get covers the waiting only. A function that submits tasks itself passes on the context it was
// given; while it waits for them, its slot is free for others, so that nesting never deadlocks.
//
// # Many tasks
//
// Map yields results in the order of its input, Unordered as they are done, with what became of each; both read in only so
// far ahead as ranks and loop keep up (Window), and leaving the loop cancels the rest. For functions of microseconds
// Chunk(Auto) sends many elements as one task. Completed yields futures as they are done. Then is for callbacks, of which
// one runs at a time. Group names tasks, so that Comm.Wait can wait for all of them, and Comm.Cancel cancel them.
//
// # Options
//
// Options say how tasks run: which first (Priority), where (OnRanks, OnNode, Local), how long (Timeout, KillAfter) and how
// often (Retries, NoRetry, MaxLost). Register takes a function's defaults, With makes a variant, each call may differ:
//
//	var Fetch = comm.Register("fetch", fetch, comm.Timeout(time.Minute), comm.Retries(3))
//
//	page, err := Fetch.Call(ctx, url, comm.Priority(1))
//
// A function whose context has ended should return; one that has not after five seconds is named on standard error.
//
// # What is it doing?
//
// Explain says in words what the job does and what it waits for; pprun has all ranks print it, with their goroutines, when
// it gets SIGQUIT (Ctrl-\). Stats and WriteStats say what became of the tasks, by function and by rank.
//
// # Large data
//
// What many tasks need is given to Share once. The Ref that it returns goes into their arguments; the data itself comes
// to a rank when that first asks for it, once to each node, and is decoded once by each rank:
//
//	index, err := comm.Share(ctx, buildIndex())
//	for r, err := range Search.Map(ctx, queries(index)) { ... } // each query has a comm.Ref[Index], and calls its Get
//
// A []byte, string or slice of numbers above 1 MiB that is submitted again and again is shared by itself: it travels once
// to each node from its second time on. Still every task gets an argument of its own, as it was when it was submitted;
// to find out costs a comparison of the bytes for each Submit. It is forgotten some ten seconds after the last task that
// needs it.
//
// Arguments and results may be as long as memory allows. Those above 8 MiB are fetched, piece by piece, from the rank
// that has them, and never lie in rank 0 because they pass it. All that is fetched is checked, by SHA-256 or, if one
// task alone needs it, CRC-32C, and fetched again if it was changed on its way.
//
// Once makes what a rank needs and can make by itself.
//
// # Speed
//
// All frames pass the hub in rank 0. Frames are written in batches; a rank has tasks ahead, for a millisecond of work,
// so that short tasks do not wait for the network. Functions of a microsecond are fine: about a million a second, and more of
// them in chunks.
package comm
