//! The demo: a day of two tenants' tasks in a minute, on two simulated nodes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cluster::{Cluster, NodeSpec};
use crate::programs::Programs;
use crate::screen::Screen;
use crate::summary::Summary;
use crate::trace::{self, Arrival};
use crate::workers::Workers;

/// Shows Mica at work: tasks wait in ClearML queues, GPUs are cut for them.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "mica-demo", version)]
pub struct Args {
    /// Leave everything running at the end, and print the URLs.
    #[arg(long)]
    pub keep: bool,
    /// How many tasks of the trace to replay.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub tasks: usize,
    /// Folder for the files of all programs; a temporary one by default.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Print lines even on a terminal.
    #[arg(long)]
    pub plain: bool,
    /// Folder of the built programs; the demo's own by default.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

/// The demo's two nodes.
pub const NODES: [NodeSpec; 2] = [
    NodeSpec {
        name: "node-a",
        board: "a100-40gb",
        gpus: 8,
    },
    NodeSpec {
        name: "node-b",
        board: "h100-sxm5-80gb",
        gpus: 4,
    },
];
/// The demo's tenants.
pub const TENANTS: [&str; 2] = ["acme", "globex"];

/// The demo ends by itself within two minutes, whatever happens.
const DEADLINE: Duration = Duration::from_secs(110);
/// Pause between two looks of the workers.
const STEP: Duration = Duration::from_millis(20);

/// Runs the demo; returns whether it held what it promises.
///
/// # Errors
/// When a part does not work, or the work is not done in time.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    let Args {
        keep,
        tasks,
        dir,
        plain,
        programs,
    } = args;
    let programs = programs.map_or_else(Programs::beside_this, |dir| Programs::in_folder(&dir))?;
    let temporary = tempfile::Builder::new().prefix("mica-demo-").tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let arrivals = trace::arrivals(tasks, TENANTS.len())?;
    let mut cluster = Cluster::start(&programs, &dir, &NODES, &TENANTS).await?;
    let mut workers = Workers::default();
    let mut screen = Screen::new(plain);
    screen.say(&format!("files of all programs: {}", dir.display()))?;
    let finished = replay(&mut cluster, &mut workers, &arrivals, &mut screen).await;
    if let Err(error) = &finished {
        screen.say(&format!("{error:#}"))?;
        screen.say(&cluster.coordinator.log_tail())?;
    }
    let summary = Summary::of(&cluster, &workers)?;
    screen.say(&format!("\n{summary}"))?;
    if keep {
        stay(&cluster, &mut screen).await?;
    }
    cluster.stop().await?;
    Ok(finished.is_ok() && summary.holds())
}

async fn replay(
    cluster: &mut Cluster,
    workers: &mut Workers,
    arrivals: &[Arrival],
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut waiting = arrivals.iter().peekable();
    loop {
        while let Some(arrival) = waiting.next_if(|arrival| arrival.at <= start.elapsed()) {
            workers.push(cluster, arrival).await?;
        }
        workers.step(cluster).await?;
        for service in cluster.services() {
            if let Some(how) = service.look_after()? {
                screen.say(&format!("{} ended ({how}); started again", service.name()))?;
            }
        }
        screen.show(cluster, workers, start.elapsed())?;
        let (pushed, done) = workers.pushed_and_done();
        if waiting.peek().is_none() && pushed == done {
            return Ok(());
        }
        if start.elapsed() > DEADLINE {
            bail!("{done} of {} tasks done after {DEADLINE:?}", arrivals.len());
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Leaves everything running until Ctrl-C.
async fn stay(cluster: &Cluster, screen: &mut Screen) -> anyhow::Result<()> {
    let server = cluster.server()?;
    screen.say("\nstill running, until Ctrl-C:")?;
    screen.say(&format!(
        "  {} --server {server} get slices",
        cluster.mica.display()
    ))?;
    screen.say(&format!("  ClearML        {}", cluster.clearml.url()))?;
    screen.say(&format!(
        "  coordinator    http://{}/metrics",
        cluster.coordinator.address("http")?
    ))?;
    for node in &cluster.nodes {
        let http = node.agent.address("http")?;
        screen.say(&format!("  {:14} http://{http}/metrics", node.name))?;
    }
    Ok(tokio::signal::ctrl_c().await?)
}
