//! A cluster on one machine: simulated GPUs and ClearML, real agents and a real coordinator.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nvml_sim::{Fault, GpuSpec, Node, NodeOptions};

use crate::clearml::ClearMl;
use crate::programs::Programs;
use crate::supervisor::{Service, Spec};
use crate::trace::Fraction;

/// A node to simulate.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: &'static str,
    /// The key of its boards in the simulated driver.
    pub board: &'static str,
    /// How many GPUs it has.
    pub gpus: usize,
}

/// A simulated node and its agent.
#[derive(Debug)]
pub struct SimulatedNode {
    /// Its name.
    pub name: String,
    /// Its simulated driver.
    pub driver: Box<Node>,
    /// Its agent.
    pub agent: Service,
}

/// What changes cost in the simulated drivers. A slice takes 0.3 s to create, which is what the field reports of real ones.
const LATENCIES: [(&str, Duration); 5] = [
    ("nvmlDeviceSetMigMode", Duration::from_millis(500)),
    (
        "nvmlDeviceCreateGpuInstanceWithPlacement",
        Duration::from_millis(200),
    ),
    (
        "nvmlGpuInstanceCreateComputeInstance",
        Duration::from_millis(100),
    ),
    ("nvmlComputeInstanceDestroy", Duration::from_millis(50)),
    ("nvmlGpuInstanceDestroy", Duration::from_millis(100)),
];

/// A tenant: its access to ClearML and its queues.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its access.
    pub clearml: ClearMl,
    /// ClearML's ids of its fraction queues.
    pub queues: BTreeMap<Fraction, String>,
}

/// The whole.
#[derive(Debug)]
pub struct Cluster {
    /// Nodes in order of their names.
    pub nodes: Vec<SimulatedNode>,
    /// Tenants in order of their names.
    pub tenants: Vec<Tenant>,
    /// The coordinator.
    pub coordinator: Service,
    /// The simulated ClearML, running in this process.
    pub clearml: clearml_sim::Server,
    /// The command line.
    pub mica: PathBuf,
}

impl Cluster {
    /// Starts a cluster with its files in `dir`.
    ///
    /// # Errors
    /// When a part does not start; says which and why.
    pub async fn start(
        programs: &Programs,
        dir: &Path,
        nodes: &[NodeSpec],
        tenants: &[&str],
    ) -> anyhow::Result<Self> {
        let (clearml, tenants) = start_clearml(tenants).await.context("simulated ClearML")?;
        let config = write_config(dir, clearml.url(), &tenants)?;
        let (grpc, http) = (free_port()?, free_port()?);
        let coordinator = Spec {
            name: "coordinator".to_owned(),
            program: programs.mica.clone(),
            args: strings(
                &["serve", "--standalone", "--config"],
                [
                    config.display().to_string(),
                    format!("--listen=127.0.0.1:{grpc}"),
                    format!("--http=127.0.0.1:{http}"),
                ],
            ),
        };
        let coordinator = Service::start(coordinator, dir).await?;
        let mut started = Vec::new();
        for spec in nodes {
            started.push(
                start_node(programs, dir, spec, grpc)
                    .await
                    .context(spec.name)?,
            );
        }
        let tenants = tenants.into_iter().map(|(tenant, _)| tenant).collect();
        let mica = programs.mica.clone();
        Ok(Self {
            nodes: started,
            tenants,
            coordinator,
            clearml,
            mica,
        })
    }

    /// Every program that runs as a process of its own.
    pub fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        self.nodes
            .iter_mut()
            .map(|node| &mut node.agent)
            .chain([&mut self.coordinator])
    }

    /// URL of the coordinator for the command line.
    ///
    /// # Errors
    /// When the coordinator is just starting.
    pub fn server(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.coordinator.address("grpc")?))
    }

    /// Runs `mica` with these arguments against the coordinator and returns what it printed.
    ///
    /// # Errors
    /// When it fails; quotes what it said.
    pub async fn mica(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new(&self.mica);
        let output = command
            .arg("--server")
            .arg(self.server()?)
            .args(args)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "mica {args:?}: {}: {said}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Ends everything, in good order.
    ///
    /// # Errors
    /// When a program cannot be stopped.
    pub async fn stop(self) -> anyhow::Result<()> {
        for node in self.nodes {
            node.agent.stop().await?;
        }
        self.coordinator.stop().await?;
        Ok(())
    }
}

type Keys = clearml_sim::Credentials;

async fn start_clearml(
    names: &[&str],
) -> anyhow::Result<(clearml_sim::Server, Vec<(Tenant, Keys)>)> {
    let state = clearml_sim::State::new();
    let mut keys = Vec::new();
    for name in names {
        let company = state.add_company(name);
        let credentials = state.add_user(&company, "admin");
        let queue = |fraction: Fraction| (fraction, state.add_queue(&company, fraction.queue()));
        keys.push((*name, credentials, Fraction::ALL.map(queue)));
    }
    let server = clearml_sim::Server::start("127.0.0.1:0".parse()?, state).await?;
    let mut tenants = Vec::new();
    for (name, keys, queues) in keys {
        let clearml = ClearMl::new(server.url(), &keys.access_key, &keys.secret_key)?;
        let tenant = Tenant {
            name: name.to_owned(),
            clearml,
            queues: queues.into(),
        };
        tenants.push((tenant, keys));
    }
    Ok((server, tenants))
}

fn write_config(dir: &Path, url: &str, tenants: &[(Tenant, Keys)]) -> anyhow::Result<PathBuf> {
    let mut config = format!("clearml:\n  url: {url}\n  pollInterval: 200ms\ntenants:\n");
    for (tenant, keys) in tenants {
        let name = &tenant.name;
        write_secret(&dir.join(format!("{name}.access_key")), &keys.access_key)?;
        write_secret(&dir.join(format!("{name}.secret_key")), &keys.secret_key)?;
        writeln!(config, "  - name: {name}")?;
        writeln!(
            config,
            "    credentials: {{accessKeyFile: {name}.access_key, secretKeyFile: {name}.secret_key}}"
        )?;
        writeln!(config, "    queues:")?;
        for fraction in tenant.queues.keys() {
            let (queue, profiles) = (fraction.queue(), fraction.profiles().join(", "));
            writeln!(config, "      - {{name: {queue}, profiles: [{profiles}]}}")?;
        }
    }
    let path = dir.join("mica.yaml");
    std::fs::write(&path, config)?;
    Ok(path)
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::File::options();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(secret.as_bytes())?)
}

fn new_driver(programs: &Programs, dir: &Path, spec: &NodeSpec) -> anyhow::Result<Box<Node>> {
    let gpus = GpuSpec::many(spec.board, spec.gpus, false);
    let options = NodeOptions {
        library: Some(programs.nvml.clone()),
        ..NodeOptions::default()
    };
    let driver = Node::create(&dir.join(format!("{}.sim", spec.name)), &gpus, &options)?;
    for (call, takes) in LATENCIES {
        driver.inject(&Fault::delay(call, takes))?;
    }
    Ok(Box::new(driver))
}

async fn start_node(
    programs: &Programs,
    dir: &Path,
    spec: &NodeSpec,
    coordinator: u16,
) -> anyhow::Result<SimulatedNode> {
    let name = spec.name.to_owned();
    let driver = new_driver(programs, dir, spec).context("simulated driver")?;
    let agent = Spec {
        name: name.clone(),
        program: programs.agent.clone(),
        args: strings(
            &["run", "--node", &name, "--poll-interval=100ms"],
            [
                format!("--coordinator=http://127.0.0.1:{coordinator}"),
                format!("--nvml-library={}", driver.library().display()),
                // Whatever kubelet this machine has.
                "--pod-resources-socket=none".to_owned(),
                format!(
                    "--state-dir={}",
                    dir.join(format!("{name}.state")).display()
                ),
                format!("--http=127.0.0.1:{}", free_port()?),
            ],
        ),
    };
    let agent = Service::start(agent, dir).await?;
    Ok(SimulatedNode {
        name,
        driver,
        agent,
    })
}

fn strings<const N: usize>(fixed: &[&str], rest: [String; N]) -> Vec<String> {
    fixed.iter().map(ToString::to_string).chain(rest).collect()
}

/// A port that is free now. Fixed ports, not 0, so that a program that is started again is found where it was.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
