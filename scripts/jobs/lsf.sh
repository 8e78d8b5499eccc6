#!/bin/sh
# An LSF job: bsub < scripts/jobs/lsf.sh
#BSUB -J pprun
#BSUB -n 8
#BSUB -R "span[ptile=4]"
#BSUB -W 10
#BSUB -o pprun.%J.out
#
# -n is the number of ranks, ptile how many of them a node may have. pprun finds both in LSB_DJOB_HOSTFILE or
# LSB_MCPU_HOSTS and reaches the nodes by ssh, so you must be able to say ssh NODE without a password. exec makes pprun
# the process that LSF signals: it ends the ranks on all nodes when the job is killed or out of time.
#
# bsub reads the script from its input, which leaves no place for arguments: PROGRAM=./prog bsub < scripts/jobs/lsf.sh

exec pprun -v "${PROGRAM:-./examples/primes}"
