"""Examples of bodies and answers for the API's description: one job from its start to its deletion.

A test sends them in this order and compares the answers.
"""

from typing import Any

START: dict[str, Any] = {
    "jobId": 4711,
    "cluster": "fritz",
    "subCluster": "main",
    "user": "ada",
    "project": "fluids",
    "numNodes": 2,
    "startTime": 1795000000,
    "walltime": 3600,
    "resources": [{"hostname": "n01"}, {"hostname": "n02"}],
    "metaData": {"jobName": "turbulence"},
}
STARTED = {"id": 1}

TAGS = [{"type": "perf", "name": "bad"}]

STOP = {"jobId": 4711, "cluster": "fritz", "stopTime": 1795003600, "jobState": "completed"}
STOP_BY_ID = {"stopTime": 1795003600, "jobState": "completed"}
STOPPED: dict[str, Any] = {
    "id": 1,
    "jobId": 4711,
    "user": "ada",
    "project": "fluids",
    "cluster": "fritz",
    "subCluster": "main",
    "numNodes": 2,
    "exclusive": 1,
    "monitoringStatus": 1,
    "jobState": "completed",
    "duration": 3600,
    "walltime": 3600,
    "tags": [{"id": 1, "type": "perf", "name": "bad"}],
    "resources": [{"hostname": "n01"}, {"hostname": "n02"}],
    "metaData": None,
    "concurrentJobs": {"items": None, "count": 0},
    "startTime": 1795000000,
    "statistics": None,
}
LISTED = {"jobs": [STOPPED], "items": 1, "page": 1}

EDIT = {"key": "issue", "value": "node n02 lost"}
EDIT_OF_JOB = {"jobId": 4711, "cluster": "fritz", "startTime": 1795000000, "payload": EDIT}
EDITED = {key: value for key, value in STOPPED.items() if key != "statistics"} | {
    "metaData": {"jobName": "turbulence", "issue": "node n02 lost"},
    "startTime": "2026-11-18T11:06:40Z",
}

METRICS = ["cpu_load", "flops_any"]

DELETE = {"jobId": 4711, "cluster": "fritz", "startTime": 1795000000}
DELETED = {"msg": "Successfully deleted job 1"}

NODE_STATES = {
    "cluster": "fritz",
    "nodes": [
        {
            "hostname": "f0001",
            "states": ["MIXED", "DRAIN"],
            "cpusAllocated": 36,
            "memoryAllocated": 120000,
            "gpusAllocated": 0,
            "jobsRunning": 2,
        }
    ],
}
NODE_STATES_STORED = {"msg": "Successfully stored the states of 1 nodes"}

EVENT = {"operation": "start_job", "body": START}
EVENT_OUTCOME = {"line": 1, "operation": "start_job", "status": 201, "body": STARTED}

USAGE = {
    "from": "2026-11-18",
    "to": "2026-11-18",
    "by": "project",
    "nodeHoursPerDay": [2.0],
    "usage": [
        {
            "name": "fluids",
            "jobs": 1,
            "nodeHours": 2.0,
            "coreHours": 144.0,
            "acceleratorHours": 0.0,
            "energy": 0.7,
            "meanWait": 0.5,
            "nodeHoursBefore": 0.0,
        }
    ],
}
