//! The Python package `clearml-agent`: its Kubernetes glue pops tasks, makes pods of them and follows them to their end. The cluster
//! is a stand-in kubectl (`agent/kubectl.py`) whose pods this test plays.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clearml_sim::{Credentials, Mode, Queue, Server, State, Status, Task};
use reqwest::Client;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::programs::{file, point, program, python, serve};

const NAMESPACE: &str = "tenant-a";
const QUEUE: &str = "gpu-fraction-0_50";
/// The agent starts within seconds, on a busy machine within many.
const DEADLINE: Duration = Duration::from_secs(300);

struct World {
    state: State,
    server: Server,
    company: String,
    keys: Credentials,
    queue: String,
    folder: tempfile::TempDir,
    glue: Option<Child>,
}

impl World {
    async fn new(mode: Mode) -> Self {
        let state = State::with_mode(mode);
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "agent");
        let queue = state.add_queue(&company, QUEUE);
        let mut world = Self {
            server: serve(&state).await,
            state,
            company,
            keys,
            queue,
            folder: tempfile::tempdir().unwrap(),
            glue: None,
        };
        world.start_glue();
        world
    }

    fn start_glue(&mut self) {
        let folder = self.folder.path();
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        std::fs::create_dir_all(folder.join("pods")).unwrap();
        std::fs::write(folder.join("clearml.conf"), "agent {}\n").unwrap();
        let kubectl = folder.join("bin/kubectl");
        let (python, stand_in) = (python(), file("agent/kubectl.py"));
        let script = format!(
            "#!/bin/sh\nexec {} {} \"$@\" 2>>\"$CLUSTER/errors.log\"\n",
            python.display(),
            stand_in.display()
        );
        std::fs::write(&kubectl, script).unwrap();
        make_executable(&kubectl);
        let mut path = folder.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let log = std::fs::File::create(folder.join("glue.log")).unwrap();
        let mut glue = program(python, folder);
        glue.arg(file("agent/glue.py"))
            .args([NAMESPACE, QUEUE])
            .current_dir(file("agent"))
            .env("PATH", path)
            .env("CLUSTER", folder)
            // Agents of one name leave notes there, so that they run once.
            .env("TMPDIR", folder)
            .env("CLEARML_WORKER_ID", "acme:glue")
            .env("CLEARML_AGENT_QUEUE_POLL_FREQ_SEC", "0.3")
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        point(&mut glue, &self.server, &self.keys);
        self.glue = Some(glue.spawn().unwrap());
    }

    fn push(&self, name: &str) -> String {
        self.state.add_task(&self.company, name, Some(&self.queue))
    }

    fn task(&self, id: &str) -> Task {
        self.state.task(id).unwrap()
    }

    fn pod_file(&self, task: &str) -> PathBuf {
        let name = format!("pods/clearml-id-{task}.json");
        self.folder.path().join(name)
    }

    /// The pod of a task, as kubectl was handed it, with its status.
    fn pod(&self, task: &str) -> Option<Value> {
        let text = std::fs::read_to_string(self.pod_file(task)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Lets something happen to the pod of a task.
    fn becomes(&self, task: &str, status: Value) {
        let mut pod = self.pod(task).unwrap();
        pod["status"] = status;
        let new = self.folder.path().join("new.json");
        std::fs::write(&new, pod.to_string()).unwrap();
        std::fs::rename(new, self.pod_file(task)).unwrap();
    }

    /// A file of the folder; empty when there is none.
    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }

    /// The commands that kubectl was given, by their first word.
    fn commands(&self, verb: &str) -> Vec<Vec<String>> {
        let log = self.read("commands.log");
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|command: &Vec<String>| command.first().is_some_and(|first| first == verb))
            .collect()
    }

    fn asked(&self, endpoint: &str) -> usize {
        let requests = self.state.requests();
        requests
            .iter()
            .filter(|request| request.endpoint == endpoint)
            .count()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            if start.elapsed() > DEADLINE {
                let (glue, kubectl) = (self.read("glue.log"), self.read("errors.log"));
                let tasks = self.state.tasks();
                panic!("{what}: not in time\n{tasks:#?}\n{glue}\n{kubectl}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("  {what}");
    }

    /// Asks as the agent in the pod does.
    async fn ask(&self, endpoint: &str, body: Value) {
        let http = Client::builder().no_proxy().build().unwrap();
        let request = http
            .post(format!("{}/{endpoint}", self.server.url()))
            .json(&body);
        let (access, secret) = (&self.keys.access_key, &self.keys.secret_key);
        let answer = request
            .basic_auth(access, Some(secret))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{endpoint} {body}");
    }

    /// The hidden queue in which tasks wait for their pods.
    fn scheduler(&self) -> Queue {
        let mut queues = self.state.queues().into_iter();
        queues.find(|queue| queue.name == "k8s_scheduler").unwrap()
    }
}

#[cfg(unix)]
fn make_executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn tasks_in(queue: &Queue) -> Vec<&str> {
    queue
        .entries
        .iter()
        .map(|entry| entry.task.as_str())
        .collect()
}

/// A note on a task.
fn property<'a>(task: &'a Task, name: &str) -> Option<&'a str> {
    let params = task.other.get("hyperparams")?;
    params["properties"][name]["value"].as_str()
}

#[rstest]
#[case::open_source(Mode::Oss)]
#[case::enterprise(Mode::Enterprise)]
#[tokio::test]
#[ignore = "needs Python packages: make test installs them"]
async fn the_agent_makes_pods_of_tasks(#[case] mode: Mode) {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let world = World::new(mode).await;
    let task = world.push("train");

    println!("a task is pushed to {QUEUE}");
    world
        .until(
            "its pod waits for a slice, and the agent says so on the task",
            |world| {
                let task = world.task(&task);
                task.status_message.contains("Unschedulable")
                    && property(&task, "k8s-queue").is_some()
            },
        )
        .await;
    judge_pod(&world, &task);
    judge_pending(&world, &task, mode);

    println!("a slice appears, and the pod runs");
    world.becomes(&task, json!({"phase": "Running"}));
    world
        .ask(
            "tasks.dequeue",
            json!({"task": task, "new_status": "in_progress"}),
        )
        .await;
    world
        .ask("tasks.started", json!({"task": task, "force": true}))
        .await;
    assert!(world.scheduler().entries.is_empty());
    assert_eq!(world.task(&task).status, Status::InProgress);
    world.ask("tasks.completed", json!({"task": task})).await;
    world.becomes(&task, json!({"phase": "Succeeded"}));
    world
        .until("the agent removes the pod that ended", |world| {
            world.pod(&task).is_none()
        })
        .await;
    assert_eq!(world.task(&task).status, Status::Completed);

    println!("a task whose image is not to be had");
    let broken = world.push("broken");
    world
        .until("has a pod", |world| world.pod(&broken).is_some())
        .await;
    let waits = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    world.becomes(
        &broken,
        json!({"phase": "Pending", "containerStatuses": [{"state": waits}]}),
    );
    world
        .until("fails, and loses its pod", |world| {
            world.task(&broken).status == Status::Failed && world.pod(&broken).is_none()
        })
        .await;
    let reason = world.task(&broken).status_reason;
    assert_eq!(reason, "K8S glue error: ImagePullBackOff (no such image)");

    println!("a task that is stopped while its pod waits");
    let stopped = world.push("stopped");
    world
        .until("waits in k8s_scheduler, with a pod", |world| {
            world.pod(&stopped).is_some() && tasks_in(&world.scheduler()).contains(&&*stopped)
        })
        .await;
    world.ask("tasks.stop", json!({"task": stopped})).await;
    world
        .until("loses its pod", |world| world.pod(&stopped).is_none())
        .await;
    assert_eq!(world.task(&stopped).status, Status::Stopped);
    assert!(!tasks_in(&world.scheduler()).contains(&&*stopped));

    let applied = world.commands("apply").len();
    let (gets, deletes) = (world.commands("get").len(), world.commands("delete").len());
    println!("kubectl: {applied} apply, {gets} get, {deletes} delete");
    assert_eq!(applied, 3);
    assert_eq!(world.read("errors.log"), "");
}

/// What kubectl was handed.
fn judge_pod(world: &World, task: &str) {
    let pod = world.pod(task).unwrap();
    let container = &pod["spec"]["containers"][0];
    let limits = &container["resources"]["limits"];
    assert_eq!(*limits, json!({"nvidia.com/mig-3g.20gb": 1}));
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["clearml-agent-queue"], world.queue);
    assert_eq!(labels["clearml-agent-queue-name"], "gpu-fraction-0-50");
    assert_eq!(labels["required-resources"], "0.5");
    let variables = container["env"].as_array().unwrap();
    let worker = json!({"name": "CLEARML_WORKER_ID", "value": format!("acme:glue:{task}")});
    assert!(variables.contains(&worker), "{variables:?}");
    let [command] = &world.commands("apply")[..] else {
        panic!("not one pod was made");
    };
    assert_eq!(command[..3], ["apply", "--namespace=tenant-a", "-f"]);
    println!("  kubectl apply was given a pod with limits {limits} and labels {labels}");
}

/// What the server recorded of a task whose pod waits.
fn judge_pending(world: &World, id: &str, mode: Mode) {
    let (task, scheduler) = (world.task(id), world.scheduler());
    assert_eq!(task.status, Status::Queued);
    assert_eq!(tasks_in(&scheduler), [id]);
    assert_eq!(scheduler.system_tags, ["k8s-glue"]);
    assert!(world.state.queue(&world.queue).unwrap().entries.is_empty());
    assert_eq!(property(&task, "k8s-queue"), Some(QUEUE));
    // The Enterprise server takes a task that counts as queued into another queue, and lets it keep its own.
    let (queue, stops) = if mode == Mode::Enterprise {
        (&world.queue, 0)
    } else {
        (&scheduler.id, 1)
    };
    assert_eq!(task.execution.queue.as_ref(), Some(queue));
    assert_eq!(world.asked("tasks.stop"), stops);
    println!("  the task is queued in k8s_scheduler, after {stops} stops");
}
