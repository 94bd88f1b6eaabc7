//! The workload: an excerpt of a published trace, replayed in fast time.
//!
//! `openb-excerpt.csv` holds 360 consecutive pods of the trace `openb_pod_list_default` of Alibaba's cluster-trace-gpu-v2023
//! that ask for less than one GPU: arrival and duration in seconds, share of a GPU in thousandths, and the rank of the pod's
//! shape (its only attribute that resembles a tenant). The trace is published by Alibaba and, as the same file, under
//! Apache-2.0 with the scheduler simulator of "Beware of Fragmentation" (USENIX ATC 2023).

use std::time::Duration;

use anyhow::Context;

const EXCERPT: &str = include_str!("openb-excerpt.csv");

/// One hour and some of the trace pass in a second, so that its six days fit in a minute.
const ARRIVALS_PER_SECOND: f64 = 8_600.0;
/// Durations shrink less than gaps between arrivals: the trace leaves its cluster nearly empty, and ours shall be busy.
const DURATIONS_PER_SECOND: f64 = 300.0;
/// Bounds of a task's duration: long enough to be seen, short enough to end within the demo.
const SHORTEST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(8);

/// A fraction queue of the ClearML guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fraction {
    /// `gpu-fraction-1_00`
    Whole,
    /// `gpu-fraction-0_50`
    Half,
    /// `gpu-fraction-0_25`
    Quarter,
}

impl Fraction {
    /// All of them, largest first.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Half, Self::Quarter];

    /// The queue's name in ClearML.
    #[must_use]
    pub fn queue(self) -> &'static str {
        match self {
            Self::Whole => "gpu-fraction-1_00",
            Self::Half => "gpu-fraction-0_50",
            Self::Quarter => "gpu-fraction-0_25",
        }
    }

    /// Profiles that serve it on the demo's boards, A100-40GB and H100-80GB.
    #[must_use]
    pub fn profiles(self) -> [&'static str; 2] {
        match self {
            Self::Whole => ["7g.40gb", "7g.80gb"],
            Self::Half => ["3g.20gb", "3g.40gb"],
            Self::Quarter => ["2g.10gb", "2g.20gb"],
        }
    }

    /// The smallest that holds a share of a GPU, in thousandths.
    fn holding(gpu_milli: u32) -> Self {
        match gpu_milli {
            0..=250 => Self::Quarter,
            251..=500 => Self::Half,
            _ => Self::Whole,
        }
    }
}

/// A task to push.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When, from the start of the replay.
    pub at: Duration,
    /// How long it runs.
    pub runs: Duration,
    /// The queue it goes to.
    pub fraction: Fraction,
    /// Which of the tenants pushes it, from 0.
    pub tenant: usize,
}

/// The first `tasks` arrivals of the excerpt in fast time, shared among `tenants`, in order of arrival.
///
/// # Errors
/// When the excerpt does not parse; names the line.
pub fn arrivals(tasks: usize, tenants: usize) -> anyhow::Result<Vec<Arrival>> {
    let rows = EXCERPT.lines().enumerate().skip(1).take(tasks);
    rows.map(|(line, row)| {
        parse(row, tenants).with_context(|| format!("openb-excerpt.csv, line {}", line + 1))
    })
    .collect()
}

fn parse(row: &str, tenants: usize) -> anyhow::Result<Arrival> {
    let mut fields = row.split(',');
    let mut field = |name: &str| fields.next().with_context(|| format!("no field {name}"));
    let arrive_s: f64 = field("arrive_s")?.parse()?;
    let duration_s: f64 = field("duration_s")?.parse()?;
    let gpu_milli: u32 = field("gpu_milli")?.parse()?;
    let shape: usize = field("app")?.trim_start_matches('a').parse()?;
    let runs = Duration::try_from_secs_f64(duration_s / DURATIONS_PER_SECOND)?;
    Ok(Arrival {
        at: Duration::try_from_secs_f64(arrive_s / ARRIVALS_PER_SECOND)?,
        runs: runs.clamp(SHORTEST, LONGEST),
        fraction: Fraction::holding(gpu_milli),
        tenant: shape.checked_rem(tenants).context("no tenants")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_excerpt_parses_in_order_and_uses_every_queue_and_tenant() {
        let arrivals = arrivals(usize::MAX, 2).unwrap();
        assert_eq!(arrivals.len(), 360);
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        for fraction in Fraction::ALL {
            for tenant in 0..2 {
                let of = |a: &&Arrival| a.fraction == fraction && a.tenant == tenant;
                assert!(
                    arrivals.iter().any(|a| of(&a)),
                    "{fraction:?} of tenant {tenant}"
                );
            }
        }
    }

    #[test]
    fn a_bad_row_is_named() {
        let error = parse("0,many,500,a001", 2).unwrap_err();
        assert!(format!("{error:#}").contains("invalid float"), "{error:#}");
    }
}
