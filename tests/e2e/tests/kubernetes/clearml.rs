//! From ClearML's queue to a slice: the real Kubernetes glue of `clearml-agent`, the real kubectl, the simulated ClearML.

use std::{net::SocketAddr, path::Path, process::Stdio};

use clearml_sim::{Mode, Server, State};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{
    api::{folder, sources, wait_for},
    tenant::Tenant,
};

const QUEUE: &str = "gpu-fraction-0_50";
const NAMESPACE: &str = "clearml-acme";
/// Its bash does nothing for ever: what a task does needs the internet.
const CONFIG: &str = r#"agent {default_docker {image: "mica.test/task:1"}}"#;
/// Agents that share ClearML's fractions out by its own means add a limit that Kubernetes refuses; Mica strips it.
const TEMPLATE: &str = r#"
metadata: {labels: {required-resources: "0.5"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - resources: {limits: {nvidia.com/mig-3g.20gb: 1, clear.ml/fraction-1: "0.5"}}
"#;
const GLUE: &str = r#"
from clearml_agent.glue.k8s import K8sIntegration
K8sIntegration(namespace="clearml-acme", template_yaml="template.yaml", max_pods_limit=10).k8s_daemon(["gpu-fraction-0_50"])
"#;

fn start_glue(home: &Path, server: &Server, keys: &clearml_sim::Credentials) -> Child {
    for (name, text) in [
        ("clearml.conf", CONFIG),
        ("template.yaml", TEMPLATE),
        ("glue.py", GLUE),
    ] {
        std::fs::write(home.join(name), text).unwrap();
    }
    let python = std::env::var_os("MICA_TEST_PYTHON")
        .unwrap_or_else(|| sources().join(".venv/bin/python").into());
    let log = std::fs::File::create(home.join("glue.log")).unwrap();
    let mut path = folder().into_os_string(); // kubectl is there
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut glue = Command::new(python);
    glue.arg("glue.py")
        .current_dir(home)
        .kill_on_drop(true)
        .env("PATH", path)
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("CLEARML_CONFIG_FILE", home.join("clearml.conf"))
        .env("CLEARML_WORKER_ID", "acme:glue")
        .env("CLEARML_AGENT_QUEUE_POLL_FREQ_SEC", "0.3")
        .env("CLEARML_API_ACCESS_KEY", &keys.access_key)
        .env("CLEARML_API_SECRET_KEY", &keys.secret_key)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    for host in ["API", "WEB", "FILES"] {
        glue.env(format!("CLEARML_{host}_HOST"), server.url());
    }
    glue.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a test cluster and Python packages: make test brings them"]
async fn a_task_of_a_fraction_queue_runs_on_a_slice() {
    let tenant = Tenant::new(NAMESPACE).await;
    let state = State::with_mode(Mode::Oss);
    let company = state.add_company("acme");
    let keys = state.add_user(&company, "agent");
    let queue = state.add_queue(&company, QUEUE);
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), state.clone())
        .await
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let glue = start_glue(home.path(), &server, &keys);

    let task = state.add_task(&company, "training", Some(&queue));
    let path = format!("api/v1/namespaces/{NAMESPACE}/pods/clearml-id-{task}");
    let pod = wait_for(
        &format!(
            "the pod of the task to run; glue: {}",
            home.path().display()
        ),
        async || {
            let pod = tenant.api.get(&path).await.ok()?;
            (pod["status"]["phase"] == "Running").then_some(pod)
        },
    )
    .await;
    let limits = pod
        .pointer("/spec/containers/0/resources/limits")
        .and_then(Value::as_object)
        .unwrap();
    assert!(limits.keys().eq(["nvidia.com/mig-3g.20gb"]), "{limits:?}");
    let given = wait_for("the log of the task's pod", async || {
        let log = tenant.api.get(&format!("{path}/log")).await.ok()?;
        let line = log
            .as_str()?
            .lines()
            .find_map(|line| line.strip_prefix("given: "))?;
        Some(line.to_owned())
    })
    .await;
    assert_eq!(
        tenant.slices().get(&given).map(String::as_str),
        Some("3g.20gb"),
        "{given}"
    );
    drop(glue);
    tenant.delete().await;
}
