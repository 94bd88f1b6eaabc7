"""Queues, tasks and workers through the SDK's own APIClient. Prints what was checked; stops at the first thing that is wrong.

The environment says where the server is and whose keys to show (CLEARML_API_HOST, CLEARML_API_ACCESS_KEY, CLEARML_API_SECRET_KEY).
The company has the queues bulk-000 … bulk-504, and a hidden queue k8s_scheduler.
"""

import json
import os
import time
import urllib.request

from clearml.backend_api import Session
from clearml.backend_api.session.client import APIClient
from clearml.backend_api.session.client.client import APIError

HOST = os.environ["CLEARML_API_HOST"]
client = APIClient(api_version="2.23")


def check(claim, found, expected):
    assert found == expected, f"{claim}: {found!r} instead of {expected!r}"
    print(f"  {claim}")


def refused(claim, code, subcode, call, **arguments):
    try:
        call(**arguments)
    except APIError as error:
        check(f"{claim} ({code}/{subcode})", (error.code, error.subcode), (code, subcode))
    else:
        raise AssertionError(f"{claim}: was not refused")


def fault(**rule):
    request = urllib.request.Request(f"{HOST}/_sim/faults", json.dumps(rule).encode(), method="POST")
    urllib.request.urlopen(request).close()


print("log-in")
session = client.session
claims = Session.get_decoded_token(session.token)
check("the token says edition and API version", (claims["feature_set"], claims["api_version"]), ("basic", "2.34"))

print("queues")
check("a listing ends after 500 rows", len(client.queues.get_all()), 500)
names = []
page = 0
while True:
    rows = client.queues.get_all(page=page, page_size=200, order_by=["-name"], only_fields=["name"])
    names += [row.name for row in rows]
    page += 1
    if len(rows) < 200:
        break
check("pages of 200, in order, hold all 505 queues once", names, [f"bulk-{n:03}" for n in reversed(range(505))])
check("a projected row has only what was asked for", rows[0].data.to_dict().keys(), {"name"})
hidden = client.queues.get_all(search_hidden=True, system_tags=["k8s-glue"])
check("a hidden queue shows when asked for", [row.name for row in hidden], ["k8s_scheduler"])
queue = client.queues.create(name="gpu-fraction-0_50").id
refused("a queue's name is unique", 400, 801, client.queues.create, name="gpu-fraction-0_50")
refused("a queue's name is long enough", 400, 800, client.queues.create, name="gp")
refused("no default queue", 400, 707, client.queues.get_default)
refused("unknown queue", 400, 701, client.queues.get_by_id, queue="0" * 32)

print("tasks")
first, second = (client.tasks.create(name=name, type="training").id for name in ("train-1", "train-2"))
check("a task waits", client.tasks.enqueue(task=first, queue=queue).queued, 1)
check("another waits behind it", client.tasks.enqueue(task=second, queue=queue).queued, 1)
refused("a task waits once", 400, 706, client.tasks.enqueue, task=first, queue=queue)
entries = client.queues.get_by_id(queue=queue).entries
check("the queue has both, in order", [entry.task for entry in entries], [first, second])
refused("a queue with tasks is not deleted", 400, 702, client.queues.delete, queue=queue)
entry = client.queues.get_next_task(queue=queue).entry
check("the first comes first", entry.task, first)
check("and still counts as queued", client.tasks.get_by_id(task=first).status.value, "queued")
check("the second goes back", client.tasks.dequeue(task=second).dequeued, 1)
refused("a task that waits nowhere", 400, 703, client.queues.remove_task, queue=queue, task=second)
check("an empty queue gives nothing", client.queues.get_next_task(queue=queue).entry, None)
check("a task starts", client.tasks.started(task=first).started, 1)
running = client.tasks.get_all(status=["in_progress"], only_fields=["id"])
check("it alone is listed as running", [row.id for row in running], [first])
refused("what runs cannot wait", 400, 110, client.tasks.enqueue, task=first, queue=queue)
refused("unknown task", 400, 101, client.tasks.get_by_id, task="0" * 32)

print("workers")
worker = "node-a:gpu0"
client.workers.register(worker=worker, queues=[queue], timeout=600)
stats = {"gpu_usage": [70], "gpu_memory_used": [20480]}
now = int(time.time() * 1000)
client.workers.status_report(worker=worker, timestamp=now, queues=[queue], queue=queue, task=first, machine_stats=stats)
[row] = client.workers.get_all()
check("the worker is listed with its queue", [listens.id for listens in row.queues], [queue])
check("and its task", (row.id, row.task.id, row.task.name), (worker, first, "train-1"))
check("the task names its worker", client.tasks.get_by_id(task=first).last_worker, worker)
refused("a worker of no queue of ours", 400, 701, client.workers.register, worker="w", queues=["0" * 32])
client.tasks.completed(task=first)
check("the task ends", client.tasks.get_by_id(task=first).status.value, "completed")
client.workers.unregister(worker=worker)
check("the worker is gone", len(client.workers.get_all()), 0)
refused("a worker that is not there", 400, 1003, client.workers.unregister, worker=worker)

print("what goes wrong on purpose")
fault(fault="expire_tokens", endpoint="queues.get_num_entries")
# The SDK logs in again, but asks again with the token that it had.
refused("an expired token", 401, 30, client.queues.get_num_entries, queue=queue)
check("was renewed by then", client.queues.get_num_entries(queue=queue).num, 0)
fault(fault={"status": {"code": 503}}, endpoint="queues.get_num_entries")
check("a 503 is asked again", client.queues.get_num_entries(queue=queue).num, 0)
answer = session.send_request("tenants", "get_tenants", json={})
check("the open-source edition has no tenants (404/0)", answer.status_code, 404)
