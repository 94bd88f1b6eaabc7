//! What takes tasks and occupies slices: a stand-in for ClearML's agents and their containers.
//!
//! A worker looks for a slice that nobody uses, puts a process on it, and only then takes a task from the queue; so a task
//! leaves its queue, and stops being demand, when it really runs. A slice that vanished in between was not taken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cluster::{Cluster, Tenant};
use crate::trace::{Arrival, Fraction};

/// A task that occupies a slice.
#[derive(Clone, Debug)]
pub struct Running {
    /// ClearML's id of the task.
    pub task: String,
    /// Index into the cluster's tenants.
    pub tenant: usize,
    /// Index into the cluster's nodes.
    pub node: usize,
    /// Process id in the simulated driver.
    pub pid: u32,
    /// When it ends.
    pub until: Instant,
}

/// All workers, and the books of what they did.
#[derive(Debug, Default)]
pub struct Workers {
    running: Vec<Running>,
    pushed: BTreeMap<String, (Instant, Duration)>,
    /// Entries of the queues at the last look, by tenant.
    waiting: BTreeMap<(usize, Fraction), usize>,
    waits: Vec<Duration>,
    done: usize,
    last_pid: u32,
}

/// First process id: above what Linux gives to real processes by default.
const FIRST_PID: u32 = 5_000_000;
/// Memory of a process, bytes: fits in the smallest slice.
const MEMORY: u64 = 1 << 30;

impl Workers {
    /// Pushes a task into its queue.
    ///
    /// # Errors
    /// When ClearML refuses it.
    pub async fn push(&mut self, cluster: &Cluster, arrival: &Arrival) -> anyhow::Result<()> {
        let tenant = cluster
            .tenants
            .get(arrival.tenant)
            .context("no such tenant")?;
        let queue = tenant
            .queues
            .get(&arrival.fraction)
            .context("no such queue")?;
        let name = format!("task {}", self.pushed.len() + 1);
        let task = tenant.clearml.push(queue, &name).await?;
        self.pushed.insert(task, (Instant::now(), arrival.runs));
        Ok(())
    }

    /// Ends the tasks whose time has come, and starts waiting ones where there is an idle slice for them.
    ///
    /// # Errors
    /// When ClearML or a simulated driver fails.
    pub async fn step(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.end_due(cluster).await?;
        for (index, tenant) in cluster.tenants.iter().enumerate() {
            let entries: BTreeMap<_, _> = tenant.clearml.entries().await?.into_iter().collect();
            for fraction in Fraction::ALL {
                let queue = tenant.queues.get(&fraction).context("no such queue")?;
                let mut waiting = entries.get(queue).copied().unwrap_or(0);
                while waiting > 0 && self.start_one(cluster, index, tenant, fraction).await? {
                    waiting -= 1;
                }
                self.waiting.insert((index, fraction), waiting);
            }
        }
        Ok(())
    }

    /// Tasks that waited in a tenant's queue at the last look.
    #[must_use]
    pub fn waiting(&self, tenant: usize, fraction: Fraction) -> usize {
        self.waiting.get(&(tenant, fraction)).copied().unwrap_or(0)
    }

    /// Tasks that run now.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// Tasks that were pushed, and tasks that have ended.
    #[must_use]
    pub fn pushed_and_done(&self) -> (usize, usize) {
        (self.pushed.len(), self.done)
    }

    /// How long each started task had waited, in order of start.
    #[must_use]
    pub fn waits(&self) -> &[Duration] {
        &self.waits
    }

    async fn end_due(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<_> = self
            .running
            .extract_if(.., |running| running.until <= now)
            .collect();
        for Running {
            task,
            tenant,
            node,
            pid,
            ..
        } in due
        {
            cluster
                .nodes
                .get(node)
                .context("no such node")?
                .driver
                .stop_process(pid)?;
            cluster
                .tenants
                .get(tenant)
                .context("no such tenant")?
                .clearml
                .complete(&task)
                .await?;
            self.done += 1;
        }
        Ok(())
    }

    async fn start_one(
        &mut self,
        cluster: &Cluster,
        index: usize,
        tenant: &Tenant,
        fraction: Fraction,
    ) -> anyhow::Result<bool> {
        let Some((node, pid)) = self.claim(cluster, fraction) else {
            return Ok(false);
        };
        let queue = tenant.queues.get(&fraction).context("no such queue")?;
        let Some(task) = tenant.clearml.take(queue).await? else {
            cluster
                .nodes
                .get(node)
                .context("no such node")?
                .driver
                .stop_process(pid)?;
            return Ok(false);
        };
        let (pushed, runs) = *self
            .pushed
            .get(&task)
            .context("a task that nobody pushed")?;
        self.waits.push(pushed.elapsed());
        let until = Instant::now() + runs;
        self.running.push(Running {
            task,
            tenant: index,
            node,
            pid,
            until,
        });
        Ok(true)
    }

    /// Puts a process on an idle slice that serves the fraction; returns its node and process id.
    fn claim(&mut self, cluster: &Cluster, fraction: Fraction) -> Option<(usize, u32)> {
        for (index, node) in cluster.nodes.iter().enumerate() {
            for gpu in node.driver.gpus() {
                for slice in &gpu.instances {
                    let idle = slice.processes.is_empty() && slice.ci.is_some();
                    if !idle || !fraction.profiles().contains(&slice.profile_name.as_str()) {
                        continue;
                    }
                    let pid = self.last_pid.max(FIRST_PID) + 1;
                    self.last_pid = pid;
                    let started = node
                        .driver
                        .start_process(gpu.index, Some(slice.gi), pid, MEMORY);
                    // It may have vanished since we looked: then it was never ours.
                    if started.is_ok() {
                        return Some((index, pid));
                    }
                }
            }
        }
        None
    }
}
