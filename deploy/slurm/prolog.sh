#!/bin/sh
# PrologSlurmctld: report the start of a job. It never fails the job and never waits over 2 seconds.

trap 'exit 0' EXIT # whatever happens
exec </dev/null >/dev/null 2>&1
. "$(dirname "$0")/report.sh" && read_settings || exit 0

if [ -z "$SLURM_JOB_END_TIME" ]; then # as in Slurm 22.05, which tells neither start nor end
    times=$(timeout $MOST_ASKING squeue --noheader --jobs "$SLURM_JOB_ID" --format '%A %S %e' |
        sed -n "s/^$SLURM_JOB_ID //p" | head -n 1)
    times=${times:-none none} # of which date makes nothing, while an empty text is midnight
    SLURM_JOB_START_TIME=$(date --date "${times% *}" +%s)
    SLURM_JOB_END_TIME=$(date --date "${times#* }" +%s)
fi
start=$(number "$SLURM_JOB_START_TIME" "$(date +%s)")
end=$(number "$SLURM_JOB_END_TIME" 0)
walltime=0
[ "$end" -gt "$start" ] && walltime=$((end - start))

resources=
nodes=0
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    resources="$resources${resources:+,}{\"hostname\":$(quoted "$host")}"
    nodes=$((nodes + 1))
done

report start_job "{\"jobId\":$(number "$SLURM_JOB_ID" 0),\"cluster\":$(quoted "$CLUSTER"),\
\"user\":$(quoted "$SLURM_JOB_USER"),\"project\":$(quoted "$SLURM_JOB_ACCOUNT"),\
\"partition\":$(quoted "$SLURM_JOB_PARTITION"),\"arrayJobId\":$(number "$SLURM_ARRAY_JOB_ID" 0),\
\"numNodes\":$nodes,\"startTime\":$start,\"walltime\":$walltime,\"resources\":[$resources],\
\"metaData\":{\"jobName\":$(quoted "$SLURM_JOB_NAME")}}"
exit 0
