//! What makes a GPU sick, and what is known to be sick. Pure: no driver, no clock.
//!
//! The driver tells of errors by itself. Most say that the GPU, or one instance, cannot be relied on: it is withdrawn, which means
//! reported with the reason and neither planned on nor destroyed, and whoever computes there goes on. It is well again once it has
//! been started anew: a reset, a driver loaded anew, a reboot, or, after it fell off the bus, that it answers again.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Gpu, Slice};
use mica_nvml::{Event, EventKind};

mod xid;

/// XIDs that make nothing sick.
#[derive(Clone, Debug)]
pub struct Ignored(BTreeSet<u64>);

impl Ignored {
    /// Those that are applications' own faults, and these.
    #[must_use]
    pub fn and(more: &[u64]) -> Self {
        Self(
            xid::APPLICATION
                .into_iter()
                .chain(more.iter().copied())
                .collect(),
        )
    }
}

/// What an event comes to. The words of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An application's own fault, or one that is not to be minded.
    Ignored,
    /// It says something about the hardware, and makes nothing sick.
    Noted,
    /// The GPU or the instance is withdrawn.
    Withdrawn,
}

impl Verdict {
    /// The label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Noted => "noted",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Judges an event.
#[must_use]
pub fn judge(kind: EventKind, ignored: &Ignored) -> Verdict {
    match kind {
        EventKind::Xid(number) if ignored.0.contains(&number) => Verdict::Ignored,
        EventKind::Xid(_)
        | EventKind::DoubleBitEcc
        | EventKind::DramRetirementFailure
        | EventKind::FatalPoison
        | EventKind::GpuUnavailable => Verdict::Withdrawn,
        EventKind::DramRetirement
        | EventKind::NonFatalPoison
        | EventKind::RecoveryAction
        | EventKind::Other(_) => Verdict::Noted,
    }
}

/// What happened, in words: `XID 48 (uncorrectable ECC error)`.
#[must_use]
pub fn words(kind: EventKind) -> String {
    match kind {
        EventKind::Xid(xid::UNKNOWN) => "an XID whose number the driver does not say".to_owned(),
        EventKind::Xid(number) => match xid::meaning(number) {
            Some(meaning) => format!("XID {number} ({meaning})"),
            None => format!("XID {number}"),
        },
        EventKind::DoubleBitEcc => "an ECC error that could not be corrected".to_owned(),
        EventKind::DramRetirement => "a page or row of memory was retired".to_owned(),
        EventKind::DramRetirementFailure => "broken memory could not be retired".to_owned(),
        EventKind::NonFatalPoison => "poisoned data, contained".to_owned(),
        EventKind::FatalPoison => "poisoned data, not contained".to_owned(),
        EventKind::GpuUnavailable => "the GPU does not answer".to_owned(),
        EventKind::RecoveryAction => "what the GPU needs to recover has changed".to_owned(),
        EventKind::Other(bit) => format!("an event of a kind that is not known here ({bit:#x})"),
    }
}

/// Kind of the event and number of the XID, as labels of metrics. Their values are bounded: a number that no driver has is `other`.
#[must_use]
pub fn labels(kind: EventKind) -> (&'static str, String) {
    let kind = match kind {
        EventKind::Xid(number) => return ("xid", xid_label(number)),
        EventKind::DoubleBitEcc => "double_bit_ecc",
        EventKind::DramRetirement => "dram_retirement",
        EventKind::DramRetirementFailure => "dram_retirement_failure",
        EventKind::NonFatalPoison => "non_fatal_poison",
        EventKind::FatalPoison => "fatal_poison",
        EventKind::GpuUnavailable => "gpu_unavailable",
        EventKind::RecoveryAction => "recovery_action",
        EventKind::Other(_) => "other",
    };
    (kind, String::new())
}

fn xid_label(number: u64) -> String {
    match number {
        xid::UNKNOWN => "unknown".to_owned(),
        0..=xid::HIGHEST => number.to_string(),
        _ => "other".to_owned(),
    }
}

/// What is sick on a node.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// By UUID of the GPU.
    sick: BTreeMap<String, Vec<Illness>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Illness {
    /// The instance, by its id and by what it stands for, since ids are reused at once; `None`: the whole GPU.
    instance: Option<(u32, Option<Slice>)>,
    /// What happened and when.
    words: String,
}

impl Health {
    /// Withdraws what an event is about: the instance that it names, else the GPU, or all of `gpus` when it names none of them.
    /// `at` is the time in words. What is sick already stays so for the reason that came first. Whether anything is sick that was not.
    pub fn withdraw(&mut self, event: &Event, at: &str, gpus: &[Gpu]) -> bool {
        let mut news = false;
        let words = format!("{} at {at}", words(event.kind));
        for gpu in gpus {
            if event.gpu.as_ref().is_some_and(|uuid| *uuid != gpu.uuid) {
                continue;
            }
            let slice = |gi| {
                let found = gpu.instances.iter().find(|known| known.gi == gi);
                found.map(|known| known.slice)
            };
            let instance = event.gi.map(|gi| (gi, slice(gi)));
            let illnesses = self.sick.entry(gpu.uuid.clone()).or_default();
            if illnesses.iter().all(|known| known.instance != instance) {
                illnesses.push(Illness {
                    instance,
                    words: words.clone(),
                });
                news = true;
            }
        }
        news
    }

    /// The GPU was started anew.
    pub fn well(&mut self, uuid: &str) {
        self.sick.remove(uuid);
    }

    /// The driver was loaded anew.
    pub fn all_well(&mut self) {
        self.sick.clear();
    }

    /// Whether the GPU, or an instance on it, is sick.
    #[must_use]
    pub fn is_sick(&self, uuid: &str) -> bool {
        self.sick.contains_key(uuid)
    }

    /// Forgets instances that are gone, and marks on a GPU that could be read what is sick.
    pub fn show(&mut self, gpu: &mut Gpu) {
        let Some(illnesses) = self.sick.get_mut(&gpu.uuid) else {
            return;
        };
        illnesses.retain(|illness| {
            let stands = |(gi, slice): (u32, Option<Slice>)| {
                let same = |known: &Slice| slice.is_none_or(|slice| slice == *known);
                gpu.instances
                    .iter()
                    .any(|known| known.gi == gi && same(&known.slice))
            };
            illness.instance.is_none_or(stands)
        });
        for Illness { instance, words } in illnesses.iter() {
            let fault = format!("{words}; left alone until the GPU is reset or the node rebooted");
            match instance {
                None => gpu.fault = Some(fault),
                Some((gi, _)) => {
                    let sick = gpu.instances.iter_mut().filter(|known| known.gi == *gi);
                    sick.for_each(|known| known.fault = Some(fault.clone()));
                }
            }
        }
        if illnesses.is_empty() {
            self.sick.remove(&gpu.uuid);
        }
    }
}

#[cfg(test)]
mod tests;
