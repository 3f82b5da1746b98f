#!/bin/sh
# EpilogSlurmctld: report the end of a job. It never drains a node and never waits over 2 seconds.
#
# Slurm tells its exit code here, not its state, and that of a job that was cancelled, ran into its limit or lost its node
# may be 0. So sacct is asked first; on a cluster without accounting such jobs are reported by their exit codes alone.

trap 'exit 0' EXIT # whatever happens
exec </dev/null >/dev/null 2>&1
. "$(dirname "$0")/report.sh" && read_settings || exit 0

# state_by_sacct: print the state of the job, or nothing. An array's last task has the id by which sacct lists all of them.
state_by_sacct() {
    timeout $MOST_ASKING sacct --noheader --allocations --parsable2 --jobs "$SLURM_JOB_ID" --format JobIDRaw,State |
        sed -n "s/^$SLURM_JOB_ID|\([A-Z_]*\).*/\1/p" | head -n 1
}

state=failed
case ${SLURM_JOB_EXIT_CODE2:-0:0} in
0:0) state=completed ;;
esac
word=$(state_by_sacct)
case $word in
RUNNING | PENDING) # the end is on its way to the accounting
    sleep 0.1
    word=$(state_by_sacct)
    ;;
esac
case $word in
CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY | PREEMPTED | DEADLINE | BOOT_FAIL | REQUEUED) state=$word ;;
esac

report stop_job "{\"jobId\":$(number "$SLURM_JOB_ID" 0),\"cluster\":$(quoted "$CLUSTER"),\
\"stopTime\":$(date +%s),\"jobState\":\"$state\"}"
exit 0
