//! The report step: who is served, and why the others are not.

use crate::assign::Served;
use crate::{ClassReport, DemandClass, GpuChange, GpuState, Report, Unmet, UnmetReason};

pub(crate) fn report(
    _gpus: &[&GpuState],
    classes: &[&DemandClass],
    served: &[Served],
    _changes: &[GpuChange],
) -> Report {
    let mut weight = 0u64;
    let reports = classes.iter().zip(served).map(|(class, served)| {
        let count = class.count - served.idle - served.new;
        weight = weight.saturating_add(
            class
                .weight
                .saturating_mul(u64::from(served.idle + served.new)),
        );
        ClassReport {
            id: class.id.clone(),
            wanted: class.count,
            served_idle: served.idle,
            served_new: served.new,
            unmet: (count > 0)
                .then(|| Unmet {
                    reason: UnmetReason::NoRoom,
                    count,
                    detail: "no room".to_owned(),
                })
                .into_iter()
                .collect(),
        }
    });
    Report {
        classes: reports.collect(),
        weight,
    }
}
