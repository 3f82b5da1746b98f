// The bodies of README.md, which the test puts in place of the names in braces, and what must not compile.
import type { components, paths } from "./api";

type Body<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends {
  requestBody: { content: { "application/json": infer B } };
}
  ? B
  : never;
type Schemas = components["schemas"];

export const start: Body<"/api/jobs/start_job/", "post"> = {start_job};
export const tags: Body<"/api/jobs/tag_job/{id}/", "post"> = {tag_job};
export const stop: Body<"/api/jobs/stop_job/", "post"> = {stop_job};

export function answers(job: Schemas["JobMeta"], page: Schemas["GetJobsApiResponse"]): (string | number | undefined)[] {
  const state: "running" | "completed" | "failed" | "cancelled" | "stopped" | "timeout" | "preempted" | "out_of_memory" =
    job.jobState;
  const partition: string | undefined = job.partition;
  return [state, partition, job.id, job.statistics?.["cpu_load"]?.avg, page.jobs[0]?.metaData?.["jobName"] ?? ""];
}

// @ts-expect-error: jobId is missing
export const nameless: Schemas["StopJob"] = { stopTime: 1795003600 };
// @ts-expect-error: no such state
export const stateless: Schemas["StopJob"] = { jobId: 4711, stopTime: 1795003600, jobState: "done" };
// @ts-expect-error: a key is left out, not null
export const empty: Schemas["StopJob"] = { jobId: 4711, stopTime: null };
export function wrong(job: Schemas["JobMeta"]): void {
  // @ts-expect-error: metaData may be null
  job.metaData["jobName"];
  // @ts-expect-error: tags may be missing
  job.tags[0];
}
