#!/bin/sh
# A PBS job: qsub scripts/jobs/pbs.sh (OpenPBS, PBS Professional; for Torque replace the select line)
#PBS -N pprun
#PBS -l select=2:ncpus=4:mpiprocs=4
#PBS -l walltime=00:10:00
#PBS -j oe
# Torque: -l nodes=2:ppn=4
#
# mpiprocs (ppn) is the number of ranks on each node: PBS_NODEFILE names a node once for each. pprun reads that file and
# reaches the nodes by ssh, so you must be able to say ssh NODE without a password. exec makes pprun the process that
# PBS signals: it ends the ranks on all nodes when the job is deleted or out of time.
#
# qsub passes no arguments on: name another program with qsub -v PROGRAM=./prog.

cd "${PBS_O_WORKDIR:-.}" || exit # PBS starts jobs in the home directory
exec pprun -v "${PROGRAM:-./examples/primes}"
