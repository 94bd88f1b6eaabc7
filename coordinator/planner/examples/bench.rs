//! Times the planner, and scores it where the optimum is known.
//!
//! `bench [FOLDER]`: generated clusters, then every `*.json` of the folder that is a `mig-planner-instance/1`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mica_model::{Board, Layout, testing};
use mica_planner::{
    Availability, Demand, DemandClass, GpuId, GpuState, Plan, Snapshot, check, plan,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Instance {
    name: String,
    tenants: BTreeMap<String, Tenant>,
    nodes: Vec<Node>,
    demand: Vec<Class>,
    optimum: Optimum,
    #[serde(default)]
    baselines: BTreeMap<String, Baseline>,
}

#[derive(Deserialize)]
struct Tenant {
    quota_slices: Option<u32>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    model: String,
    #[serde(default)]
    pool: String,
    gpus: Vec<NodeGpu>,
}

#[derive(Deserialize)]
struct NodeGpu {
    in_use: Vec<(String, u32)>,
    idle: Vec<(String, u32)>,
}

#[derive(Deserialize)]
struct Class {
    id: String,
    tenant: String,
    accept: Vec<String>,
    pools: Option<Vec<String>>,
    weight: u64,
    count: u32,
}

#[derive(Deserialize)]
struct Optimum {
    weight: u64,
    ops: usize,
}

#[derive(Deserialize)]
struct Baseline {
    weight: u64,
}

fn main() -> Result<()> {
    for gpus in [64, 500, 2000] {
        let (snapshot, demand) = generated(gpus);
        let (plan, median) = timed(&snapshot, &demand);
        let changes = plan.changes.len();
        let start = Instant::now();
        if let Err(violations) = check(&snapshot, &demand, plan) {
            bail!("generated {gpus}: {violations:?}");
        }
        println!(
            "generated {gpus:5} GPUs, {:5} requests: {changes:4} GPUs changed, plan {:8.2} ms, check {:7.2} ms",
            demand.classes.iter().map(|class| class.count).sum::<u32>(),
            millis(median),
            millis(start.elapsed()),
        );
    }
    if let Some(folder) = std::env::args().nth(1) {
        score_folder(Path::new(&folder))?;
    }
    Ok(())
}

/// A cluster that looks used: every layout that a small generator comes to, a third of the slices idle.
fn generated(gpus: u32) -> (Snapshot, Demand) {
    let boards = [testing::a100_40gb(), testing::h100_sxm5_80gb()].map(Arc::new);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let mut snapshot = Snapshot::default();
    for index in 0..gpus {
        let Some(board) = boards.get(usize::from(index % 3 == 0)) else {
            continue;
        };
        let (mut in_use, mut idle) = (Layout::default(), Layout::default());
        for slice in board.slices() {
            let mut both: Layout = in_use.0.union(&idle.0).copied().collect();
            both.0.insert(slice);
            if below(3) == 0 && board.check(&both).is_ok() {
                if below(3) == 0 {
                    &mut idle
                } else {
                    &mut in_use
                }
                .0
                .insert(slice);
            }
        }
        snapshot.gpus.push(GpuState {
            id: GpuId {
                node: format!("node-{:04}", index / 8),
                index: index % 8,
            },
            board: Arc::clone(board),
            in_use,
            idle,
            availability: Availability::Free,
        });
    }
    let pairs = [
        ("1g.5gb", "1g.10gb"),
        ("1g.10gb", "1g.20gb"),
        ("2g.10gb", "2g.20gb"),
        ("3g.20gb", "3g.40gb"),
        ("7g.40gb", "7g.80gb"),
    ];
    let classes = (0..40).zip(pairs.iter().cycle()).map(|(number, (a, b))| {
        let slices = a.chars().next().and_then(|c| c.to_digit(10)).unwrap_or(1);
        DemandClass {
            id: format!("class-{number:02}"),
            accept: vec![(*a).to_owned(), (*b).to_owned()],
            weight: u64::from(slices) * (1 + below(4)),
            count: u32::try_from(1 + below(u64::from(gpus / 8))).unwrap_or(1),
        }
    });
    let classes = classes.collect();
    (snapshot, Demand { classes })
}

fn timed(snapshot: &Snapshot, demand: &Demand) -> (Plan, Duration) {
    let mut times = Vec::new();
    let mut last = Plan::default();
    for _ in 0..5 {
        let start = Instant::now();
        last = plan(snapshot, demand);
        times.push(start.elapsed());
    }
    times.sort();
    (last, times.get(2).copied().unwrap_or_default())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn score_folder(folder: &Path) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    println!("instance               weight    optimum     %    ops  optimum      ms");
    let (mut all, mut limited) = (Tally::default(), Tally::default());
    for file in files {
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let instance: Instance =
            serde_json::from_slice(&text).with_context(|| format!("parse {}", file.display()))?;
        let quotas = instance.tenants.values().any(|t| t.quota_slices.is_some());
        let tally = if quotas { &mut limited } else { &mut all };
        score(&instance, tally)?;
    }
    all.print("without quotas");
    limited.print("with quotas, cut to them before planning");
    Ok(())
}

#[derive(Default)]
struct Tally {
    count: u32,
    weight: f64,
    worst: f64,
    optimal: u32,
    optimal_ops: u32,
    ops: f64,
    beaten: u32,
}

impl Tally {
    fn print(&self, name: &str) {
        let count = f64::from(self.count.max(1));
        println!(
            "{name}: {} instances, mean weight {:.3} % of the optimum (worst {:.2} %), optimal {}; \
             there operations optimal {} and {:.2} % of the optimum; below a baseline {}",
            self.count,
            self.weight / count,
            100.0 - self.worst,
            self.optimal,
            self.optimal_ops,
            self.ops / f64::from(self.optimal.max(1)),
            self.beaten,
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "percentages for people"
)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        100.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

fn score(instance: &Instance, tally: &mut Tally) -> Result<()> {
    let (snapshot, demand) = read(instance)?;
    let (plan, median) = timed(&snapshot, &demand);
    let plan = match check(&snapshot, &demand, plan) {
        Ok(plan) => plan,
        Err(violations) => bail!("{}: {violations:?}", instance.name),
    };
    let changes = plan.changes.iter();
    let ops: usize = changes.map(|c| c.destroy.len() + c.create.len()).sum();
    let (weight, optimum) = (plan.report.weight, &instance.optimum);
    let share = percent(weight, optimum.weight);
    println!(
        "{:18} {weight:10} {:10} {share:6.2} {ops:6} {:6} {:9.2}{}",
        instance.name,
        optimum.weight,
        optimum.ops,
        millis(median),
        if weight < optimum.weight {
            "  below"
        } else if ops > optimum.ops {
            "  more ops"
        } else {
            ""
        },
    );
    tally.count += 1;
    tally.weight += share;
    tally.worst = tally.worst.max(100.0 - share);
    tally.beaten += u32::from(instance.baselines.values().any(|b| b.weight > weight));
    if weight == optimum.weight {
        tally.optimal += 1;
        tally.optimal_ops += u32::from(ops == optimum.ops);
        tally.ops += percent(u64::try_from(ops)?, u64::try_from(optimum.ops)?);
    }
    Ok(())
}

/// Pools become part of the profile names; quotas cut the demand, heaviest requests first.
fn read(instance: &Instance) -> Result<(Snapshot, Demand)> {
    let mut boards: BTreeMap<(&str, &str), Arc<Board>> = BTreeMap::new();
    let mut gpus = Vec::new();
    for node in &instance.nodes {
        let mut board = match node.model.as_str() {
            "A100-40" => testing::a100_40gb(),
            "H100-80" => testing::h100_sxm5_80gb(),
            "A30" => testing::a30_24gb(),
            other => bail!("{}: unknown model {other}", instance.name),
        };
        let plain = board.clone();
        for profile in &mut board.profiles {
            profile.name = pooled(&node.pool, &profile.name);
        }
        let key = (node.pool.as_str(), node.model.as_str());
        let board = Arc::clone(boards.entry(key).or_insert_with(|| Arc::new(board)));
        let layout = |slices: &[(String, u32)]| -> Result<Layout> {
            let slices = slices.iter().map(|(name, start)| {
                testing::slice(&plain, name, *start).with_context(|| format!("no {name}@{start}"))
            });
            slices.collect()
        };
        for (index, gpu) in (0..).zip(&node.gpus) {
            gpus.push(GpuState {
                id: GpuId {
                    node: node.name.clone(),
                    index,
                },
                board: Arc::clone(&board),
                in_use: layout(&gpu.in_use)?,
                idle: layout(&gpu.idle)?,
                availability: Availability::Free,
            });
        }
    }
    Ok((Snapshot { gpus }, demand(instance)))
}

fn pooled(pool: &str, profile: &str) -> String {
    format!("{pool}:{profile}")
}

fn demand(instance: &Instance) -> Demand {
    let slices = |class: &Class| {
        let firsts = class.accept.iter().filter_map(|name| name.chars().next());
        let slices = firsts.filter_map(|first| first.to_digit(10));
        slices.min().unwrap_or(1)
    };
    let mut quota: BTreeMap<&str, u32> = instance
        .tenants
        .iter()
        .filter_map(|(name, tenant)| Some((name.as_str(), tenant.quota_slices?)))
        .collect();
    let mut order: Vec<&Class> = instance.demand.iter().collect();
    order.sort_by_key(|class| std::cmp::Reverse(class.weight / u64::from(slices(class))));
    let every: std::collections::BTreeSet<&str> = instance
        .nodes
        .iter()
        .map(|node| node.pool.as_str())
        .collect();
    let classes = order.into_iter().map(|class| {
        let mut count = class.count;
        if let Some(left) = quota.get_mut(class.tenant.as_str()) {
            count = count.min(*left / slices(class));
            *left -= count * slices(class);
        }
        let pools = every.iter().filter(|pool| {
            let listed = class.pools.as_ref().filter(|pools| !pools.is_empty());
            listed.is_none_or(|pools| pools.iter().any(|listed| listed == *pool))
        });
        DemandClass {
            id: class.id.clone(),
            accept: pools
                .flat_map(|pool| class.accept.iter().map(|name| pooled(pool, name)))
                .collect(),
            weight: class.weight,
            count,
        }
    });
    Demand {
        classes: classes.collect(),
    }
}
