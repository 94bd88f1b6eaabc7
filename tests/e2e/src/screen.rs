//! Where the demo is shown: a terminal gets a picture that is drawn anew, anything else gets lines.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::draw::{self, Style};
use crate::trace::Fraction;
use crate::workers::Workers;

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Standard output, and what stands on it.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    style: Style,
    next: Duration,
    /// Lines of the picture that the next one overwrites.
    drawn: usize,
}

impl Screen {
    pub(crate) fn new(plain: bool) -> Self {
        let live = !plain && std::io::stdout().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none();
        let style = if colour { Style::Colour } else { Style::Plain };
        Self {
            live,
            style,
            next: Duration::ZERO,
            drawn: 0,
        }
    }

    pub(crate) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.drawn = 0;
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    pub(crate) fn show(
        &mut self,
        cluster: &Cluster,
        workers: &Workers,
        now: Duration,
    ) -> anyhow::Result<()> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + if self.live { REDRAW } else { LINE_EVERY };
        let counts = counts(cluster, workers, now);
        if !self.live {
            return self.say(&counts);
        }
        let lines = picture(cluster, workers, self.style);
        let mut out = std::io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn)?;
        }
        for line in lines.iter().chain([&counts]) {
            writeln!(out, "\x1b[2K{line}")?;
        }
        self.drawn = lines.len() + 1;
        Ok(out.flush()?)
    }
}

fn counts(cluster: &Cluster, workers: &Workers, now: Duration) -> String {
    let (pushed, done) = workers.pushed_and_done();
    let running = workers.running().len();
    let mut slices = 0;
    for node in &cluster.nodes {
        slices += node
            .driver
            .gpus()
            .iter()
            .map(|gpu| gpu.instances.len())
            .sum::<usize>();
    }
    let waiting = pushed - done - running;
    format!(
        "{:5.1} s   waiting {waiting:3}   running {running:3}   done {done:3}   slices {slices:3}, {} idle",
        now.as_secs_f64(),
        slices.saturating_sub(running),
    )
}

fn picture(cluster: &Cluster, workers: &Workers, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, node) in cluster.nodes.iter().enumerate() {
        let mut tenants = BTreeMap::new();
        for running in workers
            .running()
            .iter()
            .filter(|running| running.node == index)
        {
            let name = cluster
                .tenants
                .get(running.tenant)
                .map_or("?", |tenant| &tenant.name);
            tenants.insert(running.pid, (running.tenant, name));
        }
        for gpu in node.driver.gpus() {
            let drawing = draw::gpu(&gpu, &tenants, style);
            lines.push(format!(
                "{}/{}  {:28} {drawing}",
                node.name, gpu.index, gpu.product
            ));
        }
    }
    for (index, tenant) in cluster.tenants.iter().enumerate() {
        let waiting = Fraction::ALL.map(|fraction| {
            format!(
                "{} {:2}",
                fraction.queue(),
                workers.waiting(index, fraction)
            )
        });
        lines.push(format!(
            "{:8} waiting in {}",
            tenant.name,
            waiting.join(", ")
        ));
    }
    lines
}
