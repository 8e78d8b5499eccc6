#!/bin/sh
# A Grid Engine job: qsub scripts/jobs/sge.sh [PROGRAM [ARGUMENT...]]
#$ -N pprun
#$ -pe mpi 8
#$ -cwd
#$ -j y
#$ -l h_rt=00:10:00
#$ -S /bin/sh
#
# -pe names a parallel environment (qconf -spl lists those of your site) and the number of ranks. pprun reads PE_HOSTFILE
# and reaches the nodes by ssh, so you must be able to say ssh NODE without a password. qdel kills the job at once and
# without a signal: the ranks elsewhere then end because the connection to pprun does.

[ $# -gt 0 ] || set -- ./examples/primes
exec pprun -v "$@"
