"""Stands in for kubectl: a cluster in which nothing fits, until somebody writes another status of a pod.

The folder CLUSTER holds commands.log, a JSON list of arguments for each command in order, and pods/NAME.json for each pod.
"""

import fcntl
import json
import os
import re
import sys
from pathlib import Path

CLUSTER = Path(os.environ["CLUSTER"])
PODS = CLUSTER / "pods"
WAITS = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/mig-3g.20gb.",
        }
    ],
}


def option(*names):
    """The value of an option, as `-n x`, `--n x` or `--n=x`."""
    for at, argument in enumerate(sys.argv):
        name, _, value = argument.partition("=")
        if name in names:
            return value or sys.argv[at + 1]
    return None


def selected(pod):
    labels = pod["metadata"].get("labels", {})
    for term in filter(None, (option("-l", "--selector") or "").split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value:
            return False
    fields = {"status.phase": pod["status"]["phase"], "metadata.name": pod["metadata"]["name"]}
    for term in filter(None, (option("--field-selector") or "").split(",")):
        key, sign, value = re.match(r"([\w.]+)(!?=)=?(.*)", term).groups()
        if (fields[key] == value) != (sign == "="):
            return False
    return pod["metadata"]["namespace"] == option("-n", "--namespace")


def pods():
    return [pod for pod in (json.loads(file.read_text()) for file in sorted(PODS.iterdir())) if selected(pod)]


def apply():
    import yaml  # takes longer than all the rest, and the other commands do without

    pod = yaml.safe_load(Path(option("-f")).read_text())
    pod["status"] = WAITS
    pod["metadata"].setdefault("namespace", option("--namespace"))
    name = pod["metadata"]["name"]
    (PODS / f"{name}.json").write_text(json.dumps(pod))
    print(f"pod/{name} created")


def get():
    if option("-o") == "json":
        print(json.dumps({"items": pods()}))
    else:  # names with namespace and queue
        for pod in pods():
            about = pod["metadata"]
            print(about["name"], about["namespace"], about["labels"]["clearml-agent-queue"])


def delete():
    named = [argument for argument in sys.argv[3:] if argument.startswith("clearml-id-")]
    for pod in pods():
        name = pod["metadata"]["name"]
        if not named or name in named:
            (PODS / f"{name}.json").unlink()
            print(f"pod/{name}")


# One command at a time: the agent's threads run several.
with open(CLUSTER / "commands.log", "a") as log:
    fcntl.flock(log, fcntl.LOCK_EX)
    log.write(json.dumps(sys.argv[1:]) + "\n")
    log.flush()
    {"apply": apply, "get": get, "delete": delete}[sys.argv[1]]()
