//! What the demo has to show for itself, judged from the simulated drivers' own logs.

use std::fmt;
use std::time::Duration;

use nvml_sim::judge::{Verdict, judge};

use crate::cluster::Cluster;
use crate::workers::Workers;

/// The end of a demo in figures.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Tasks pushed.
    pub pushed: usize,
    /// Tasks that ran to their end.
    pub served: usize,
    /// Waits from push to start, ascending.
    pub waits: Vec<Duration>,
    /// GPU instances created, by the drivers' logs.
    pub created: u64,
    /// GPU instances destroyed.
    pub destroyed: u64,
    /// Slices that were destroyed, or tried to be, though a process on them was there to see. Must be 0.
    pub touched: Vec<String>,
    /// Destroys that the driver refused because a process had come after the agent's last look: harmless.
    pub lost_races: usize,
    /// GPU instances without compute instance at the end, as `NODE/INDEX GI`. Must be none.
    pub leaked: Vec<String>,
    /// Largest resident memory of an agent, KiB.
    pub agent_kib: u64,
    /// Largest resident memory of the coordinator, KiB.
    pub coordinator_kib: u64,
    /// How often a program was started again.
    pub restarts: u32,
}

impl Summary {
    /// Takes stock of a cluster whose work is done.
    ///
    /// # Errors
    /// When a driver's log or state cannot be read.
    pub fn of(cluster: &Cluster, workers: &Workers) -> anyhow::Result<Self> {
        let (pushed, served) = workers.pushed_and_done();
        let mut waits = workers.waits().to_vec();
        waits.sort();
        let coordinator = &cluster.coordinator;
        let mut summary = Self {
            pushed,
            served,
            waits,
            coordinator_kib: coordinator.peak_kib(),
            restarts: coordinator.restarts(),
            ..Self::default()
        };
        for node in &cluster.nodes {
            let Verdict {
                created,
                destroyed,
                touched,
                lost_races,
                ..
            } = judge(&node.driver.log()?);
            summary.created += created;
            summary.destroyed += destroyed;
            summary.lost_races += lost_races.len();
            summary.touched.extend(
                touched
                    .iter()
                    .map(|what| format!("{}: {what:?}", node.name)),
            );
            summary.agent_kib = summary.agent_kib.max(node.agent.peak_kib());
            summary.restarts += node.agent.restarts();
            for gpu in node.driver.gpus() {
                let half_made = gpu
                    .instances
                    .iter()
                    .filter(|instance| instance.ci.is_none());
                let place = |gi| format!("{}/{} GPU instance {gi}", node.name, gpu.index);
                summary
                    .leaked
                    .extend(half_made.map(|instance| place(instance.gi)));
            }
        }
        Ok(summary)
    }

    /// Whether the demo held what it promises: every task served, no slice in use touched, no GPU instance leaked.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.served == self.pushed && self.touched.is_empty() && self.leaked.is_empty()
    }

    /// The wait that this share of the tasks did not exceed, 0 ≤ `share` ≤ 100, by nearest rank.
    #[must_use]
    pub fn wait_percentile(&self, share: usize) -> Duration {
        let rank = (self.waits.len() * share).div_ceil(100).max(1);
        self.waits.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |share| format!("{:.2} s", self.wait_percentile(share).as_secs_f64());
        let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
        writeln!(
            f,
            "tasks served            {} of {}",
            self.served, self.pushed
        )?;
        let waits = [50, 90, 99, 100].map(seconds);
        writeln!(
            f,
            "waiting time            p50 {}, p90 {}, p99 {}, max {}",
            waits[0], waits[1], waits[2], waits[3]
        )?;
        writeln!(
            f,
            "slices                  {} created, {} destroyed",
            self.created, self.destroyed
        )?;
        writeln!(f, "in-use slices touched   {}", self.touched.len())?;
        for what in &self.touched {
            writeln!(f, "  {what}")?;
        }
        writeln!(f, "lost races (harmless)   {}", self.lost_races)?;
        writeln!(f, "leaked GPU instances    {}", self.leaked.len())?;
        for what in &self.leaked {
            writeln!(f, "  {what}")?;
        }
        writeln!(f, "programs restarted      {}", self.restarts)?;
        let (agent, coordinator) = (mib(self.agent_kib), mib(self.coordinator_kib));
        write!(
            f,
            "resident memory         agent {agent}, coordinator {coordinator} (peak)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let waits = (1..=10).map(Duration::from_secs).collect();
        let summary = Summary {
            waits,
            ..Summary::default()
        };
        let at = |share| summary.wait_percentile(share).as_secs();
        assert_eq!([at(50), at(90), at(99), at(100)], [5, 9, 10, 10]);
        assert_eq!(Summary::default().wait_percentile(50), Duration::ZERO);
    }

    #[test]
    fn it_holds_only_without_fault() {
        let good = Summary {
            pushed: 2,
            served: 2,
            ..Summary::default()
        };
        assert!(good.holds());
        assert!(
            !Summary {
                served: 1,
                ..good.clone()
            }
            .holds()
        );
        assert!(
            !Summary {
                touched: vec!["x".to_owned()],
                ..good.clone()
            }
            .holds()
        );
        assert!(
            !Summary {
                leaked: vec!["x".to_owned()],
                ..good
            }
            .holds()
        );
    }
}
