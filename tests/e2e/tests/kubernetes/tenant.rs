//! A tenant's namespace, its pods, and the simulated GPUs they run on.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use nvml_sim::{Fault, Node};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::{Api, folder, wait_for};

/// A pod to run.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) profile: String,
    pub(crate) count: u32,
}

impl Pod {
    /// One that asks for one slice.
    pub(crate) fn asking(profile: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            profile: profile.to_owned(),
            count: 1,
        }
    }

    fn manifest(&self) -> Value {
        let resource = format!("nvidia.com/mig-{}", self.profile.replace('+', "."));
        // It says what it was given, and stays.
        let script = r#"echo "given: $NVIDIA_VISIBLE_DEVICES"; exec sleep infinity"#;
        json!({
            "metadata": {"name": self.name},
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main",
                    "image": "mica.test/busybox:1",
                    "command": ["sh", "-c", script],
                    "resources": {"limits": {resource: self.count.to_string()}},
                }],
            },
        })
    }
}

/// A pod that runs.
pub(crate) struct Running {
    pub(crate) name: String,
    /// UUID of the slice it was given.
    pub(crate) slice: String,
    /// From its creation until it was Ready.
    pub(crate) took: Duration,
}

/// A namespace that Mica manages.
pub(crate) struct Tenant {
    pub(crate) api: Api,
    pods: String,
    namespace: String,
    nodes: Vec<Node>,
    /// Which running pod holds which slice.
    held: Mutex<BTreeMap<String, String>>,
}

impl Tenant {
    pub(crate) async fn new(namespace: &str) -> Self {
        let api = Api::administrator();
        api.managed_namespace(namespace).await;
        let node = |name: &str| Node::open(&folder().join(name).join("lib/nvml-sim")).unwrap();
        Self {
            api,
            pods: format!("api/v1/namespaces/{namespace}/pods"),
            namespace: namespace.to_owned(),
            nodes: vec![node("node-a"), node("node-b")],
            held: Mutex::default(),
        }
    }

    /// Makes each creation of a GPU instance take so long, on all nodes.
    pub(crate) fn slow_driver(&self, delay: Duration) {
        for node in &self.nodes {
            node.clear_faults().unwrap();
            let create = Fault::delay("nvmlDeviceCreateGpuInstanceWithPlacement", delay);
            node.inject(&create).unwrap();
        }
    }

    /// Profiles by UUID of all slices of the cluster.
    pub(crate) fn slices(&self) -> BTreeMap<String, String> {
        let gpus = self.nodes.iter().flat_map(Node::gpus);
        let instances = gpus.flat_map(|gpu| gpu.instances);
        instances
            .filter_map(|instance| Some((instance.uuid?, instance.profile_name)))
            .collect()
    }

    /// Creates the pod, however often the API server has to be asked.
    pub(crate) async fn create(&self, pod: &Pod) {
        let manifest = pod.manifest();
        wait_for(&format!("{} to be admitted", pod.name), async || {
            match self.api.create(&self.pods, &manifest).await {
                Ok(_) => Some(()),
                Err(refusal) if refusal.code == StatusCode::CONFLICT => Some(()), // created, but not answered
                Err(refusal) if refusal.code.is_server_error() => None,
                Err(refusal) => panic!("{}: {refusal:?}", pod.name),
            }
        })
        .await;
    }

    /// Creates a pod and waits until it is Ready, on a slice that exists, has the profile that was asked for, and is held by no
    /// other pod.
    pub(crate) async fn run(&self, pod: &Pod) -> Running {
        let start = Instant::now();
        self.create(pod).await;
        let path = format!("{}/{}", self.pods, pod.name);
        wait_for(&format!("{path} to be Ready"), async || {
            let seen = self.api.get(&path).await.ok()?;
            let phase = seen["status"]["phase"].as_str()?;
            assert_ne!(phase, "Failed", "{}: {}", pod.name, seen["status"]);
            let conditions = seen["status"]["conditions"].as_array()?;
            let ready =
                |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            conditions.iter().any(ready).then_some(())
        })
        .await;
        let took = start.elapsed();
        let slice = wait_for(&format!("the log of {path}"), async || {
            let log = self.api.get(&format!("{path}/log")).await.ok()?;
            let last = log.as_str()?.lines().last()?.to_owned();
            last.strip_prefix("given: ").map(str::to_owned)
        })
        .await;
        self.assert_slice(pod, &slice);
        let before = self
            .held
            .lock()
            .unwrap()
            .insert(slice.clone(), pod.name.clone());
        assert_eq!(
            before, None,
            "{} was given the slice {slice} of another pod",
            pod.name
        );
        Running {
            name: pod.name.clone(),
            slice,
            took,
        }
    }

    fn assert_slice(&self, pod: &Pod, slice: &str) {
        let profile = self.slices().remove(slice);
        assert_eq!(
            profile.as_ref(),
            Some(&pod.profile),
            "{} was given {slice:?}",
            pod.name
        );
    }

    /// Creates all pods at once and waits until each is Ready.
    pub(crate) async fn run_all(&self, pods: &[Pod]) -> Vec<Running> {
        futures_util::future::join_all(pods.iter().map(|pod| self.run(pod))).await
    }

    /// Ends a pod, whose slice has to be there still, and waits until it is gone.
    pub(crate) async fn end(&self, pod: &Running) {
        assert!(
            self.slices().contains_key(&pod.slice),
            "{} was destroyed under {}",
            pod.slice,
            pod.name
        );
        self.held.lock().unwrap().remove(&pod.slice);
        let path = format!("{}/{}", self.pods, pod.name);
        wait_for(&format!("{path} to be gone"), async || {
            let refusal = self.api.delete(&path).await.err()?;
            (refusal.code == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }

    pub(crate) async fn delete(self) {
        let path = format!("api/v1/namespaces/{}", self.namespace);
        self.api.delete(&path).await.unwrap();
    }
}
