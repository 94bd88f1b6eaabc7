//! The report step: who is served, and why the others are not.

use std::collections::BTreeMap;

use crate::assign::Served;
use crate::reasons::{Reason, Scene};
use crate::{ClassReport, DemandClass, Report, Unmet};

/// Reports on classes, each with how many of its requests are served.
pub(crate) fn report(scene: &Scene<'_>, classes: &[&DemandClass], served: &[Served]) -> Report {
    let mut weight = 0u64;
    // Classes that accept the same are short of it for the same reason.
    let mut reasons: BTreeMap<&[String], Reason> = BTreeMap::new();
    let mut reports = Vec::with_capacity(classes.len());
    for (class, served) in classes.iter().zip(served) {
        let count = served.idle.saturating_add(served.new);
        weight = weight.saturating_add(class.weight.saturating_mul(u64::from(count)));
        let missing = class.count.saturating_sub(count);
        let unmet = (missing > 0).then(|| {
            let reason = reasons
                .entry(&class.accept)
                .or_insert_with(|| scene.reason(&class.accept));
            Unmet {
                reason: reason.word,
                count: missing,
                detail: reason.detail.clone(),
            }
        });
        reports.push(ClassReport {
            id: class.id.clone(),
            wanted: class.count,
            served_idle: served.idle,
            served_new: served.new,
            unmet: unmet.into_iter().collect(),
        });
    }
    Report {
        classes: reports,
        weight,
    }
}
