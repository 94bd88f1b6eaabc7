//! A coordinator in this process, and what it answers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use clearml_sim::Credentials;
use mica_coordinator::serve::{Args, run_until};
use mica_proto::v1::{self, console_client::ConsoleClient, fleet_client::FleetClient};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinSet, time::timeout};
use tonic::transport::Channel;

use super::clearml::ClearMl;

/// Longer than anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

#[derive(Deserialize)]
struct Listening {
    grpc: SocketAddr,
    http: SocketAddr,
}

/// A running coordinator with a ClearML to ask. Both end when dropped.
pub(crate) struct Coordinator {
    pub(crate) clearml: ClearMl,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    run: JoinSet<anyhow::Result<()>>,
    _directory: TempDir,
}

/// What `mica serve` was given, beside the configuration.
pub(crate) fn args(more: &[&str], config: &Path) -> Args {
    let config = config.to_str().unwrap();
    let own = ["serve", "--standalone", "--config", config];
    let words = own.iter().chain(more);
    Command::try_parse_from(words).unwrap().args
}

/// A configuration of tenant `acme`.
pub(crate) fn write_config(directory: &Path, url: &str, keys: &Credentials) -> PathBuf {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    write("access", &keys.access_key);
    write("secret", &keys.secret_key);
    write(
        "mica.yaml",
        &format!(
            "
clearml: {{url: '{url}', pollInterval: 100ms}}
tenants:
  - name: acme
    credentials: {{accessKeyFile: access, secretKeyFile: secret}}
    queues:
      - {{name: half, profiles: [3g.20gb]}}
      - {{name: small, profiles: [1g.5gb], maxRunning: 2}}
"
        ),
    );
    directory.join("mica.yaml")
}

impl Coordinator {
    /// Starts one, on a ClearML with the queues `half` and `small` (of which 2 may run).
    pub(crate) async fn start() -> Self {
        Self::on(ClearMl::start(&["half", "small"]).await, &[]).await
    }

    /// Starts one on this ClearML.
    pub(crate) async fn on(clearml: ClearMl, more: &[&str]) -> Self {
        // It fails only when another test of this process was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let directory = TempDir::new().unwrap();
        let config = write_config(directory.path(), &clearml.url(), &clearml.keys);
        let ready = directory.path().join("ready.json");
        let ready_text = ready.to_str().unwrap();
        let own = ["--grace=0s", "--debounce=5ms", "--ready-file", ready_text];
        let loopback = ["--listen=127.0.0.1:0", "--http=127.0.0.1:0"];
        let addresses = if more.contains(&"--insecure") {
            &[][..]
        } else {
            &loopback[..]
        };
        let args = args(&[&own[..], addresses, more].concat(), &config);
        let (stop, stopped) = oneshot::channel();
        let mut run = JoinSet::new();
        run.spawn(run_until(args, async move {
            drop(stopped.await);
        }));
        let Listening { grpc, http } = tokio::select! {
            ended = run.join_next() => panic!("it ended: {ended:?}"),
            listening = wait_for("the ready file", || std::fs::read(&ready).ok()) =>
                serde_json::from_slice(&listening).unwrap(),
        };
        Self {
            clearml,
            grpc,
            http,
            stop: Some(stop),
            run,
            _directory: directory,
        }
    }

    /// Ends it as SIGTERM does, and starts another one on the same ClearML.
    pub(crate) async fn restart(mut self) -> Self {
        self.end().await;
        Self::on(self.clearml, &[]).await
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn end(&mut self) {
        drop(self.stop.take());
        let ended = timeout(DEADLINE, self.run.join_next()).await;
        ended.expect("it does not end").unwrap().unwrap().unwrap();
    }

    async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.grpc);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn fleet(&self) -> FleetClient<Channel> {
        FleetClient::new(self.channel().await)
    }

    pub(crate) async fn console(&self) -> ConsoleClient<Channel> {
        ConsoleClient::new(self.channel().await)
    }

    /// The cluster as soon as it looks so.
    pub(crate) async fn watch_until(
        &self,
        what: &str,
        mut looks: impl FnMut(&v1::Cluster) -> bool,
    ) -> v1::Cluster {
        let mut console = self.console().await;
        let request = v1::WatchRequest { follow: true };
        let mut stream = console.watch(request).await.unwrap().into_inner();
        let mut last = None;
        let found = timeout(DEADLINE, async {
            loop {
                let cluster = stream.message().await.unwrap().expect("the stream ended");
                if looks(&cluster) {
                    return cluster;
                }
                last = Some(cluster);
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("{what}: it does not come to that: {last:#?}"))
    }

    /// What `mica explain` says.
    pub(crate) async fn explain(&self, subject: &str) -> Result<String, tonic::Status> {
        let request = v1::ExplainRequest {
            subject: subject.to_owned(),
        };
        let reply = self.console().await.explain(request).await?;
        Ok(reply.into_inner().lines.join("\n"))
    }

    /// What is served at this path.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.http);
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The value of a metric, by its name and labels as they are printed.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let waited = timeout(DEADLINE, async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("{what}: waited too long"))
}
