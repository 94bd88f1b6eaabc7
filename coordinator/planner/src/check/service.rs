//! What the report says of the requests.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mica_model::Slice;

use super::lending::{Request, Supply, lend};
use super::{Changes, Gpus, Violation};
use crate::{Availability, ClassReport, Demand, DemandClass, GpuState, Report};

/// Checks the report against the demand and the slices that there will be.
pub(super) fn check(
    gpus: &Gpus<'_>,
    demand: &Demand,
    changes: &Changes<'_>,
    report: &Report,
    violations: &mut Vec<Violation>,
) {
    let classes = pair(demand, report, violations);
    for (class, report) in &classes {
        check_counts(class, report, violations);
    }
    let (mut present, mut kept, mut created) = (Supply::new(), Supply::new(), Supply::new());
    for (id, gpu) in gpus {
        if gpu.availability == Availability::Unavailable {
            continue;
        }
        let change = changes.get(id);
        count(gpu, gpu.idle.0.iter(), &mut present);
        let stays = |slice: &&Slice| change.is_none_or(|c| !c.destroy.contains(slice));
        count(gpu, gpu.idle.0.iter().filter(stays), &mut kept);
        let new = change.into_iter().flat_map(|change| &change.create);
        count(gpu, new, &mut created);
    }
    check_servable(&classes, &kept, "idle", |r| r.served_idle, violations);
    check_servable(&classes, &created, "new", |r| r.served_new, violations);

    let serving = classes.iter().map(|(_, r)| u64::from(r.served_new)).sum();
    let created = changes.values().map(|change| change.create.len());
    let created = u64::try_from(created.sum::<usize>()).unwrap_or(u64::MAX);
    if created > serving {
        violations.push(Violation::NeedlessCreate { created, serving });
    }
    check_weight(&classes, demand, &present, changes, report, violations);
}

type Pairs<'a> = Vec<(&'a DemandClass, &'a ClassReport)>;

/// Each class with its report.
fn pair<'a>(demand: &'a Demand, report: &'a Report, violations: &mut Vec<Violation>) -> Pairs<'a> {
    let mut reports: BTreeMap<&str, &ClassReport> = BTreeMap::new();
    for class in &report.classes {
        let wanted = demand.classes.iter().any(|wanted| wanted.id == class.id);
        if reports.insert(&class.id, class).is_some() || !wanted {
            violations.push(Violation::UnknownClass {
                class: class.id.clone(),
            });
        }
    }
    let mut classes: BTreeMap<&str, &DemandClass> = BTreeMap::new();
    for class in &demand.classes {
        if classes.insert(&class.id, class).is_some() {
            violations.push(Violation::AmbiguousClass {
                class: class.id.clone(),
            });
        }
    }
    let mut pairs = Vec::new();
    for (id, class) in classes {
        match reports.get(id) {
            Some(report) => pairs.push((class, *report)),
            None => violations.push(Violation::MissingClass {
                class: id.to_owned(),
            }),
        }
    }
    pairs
}

fn check_counts(class: &DemandClass, report: &ClassReport, violations: &mut Vec<Violation>) {
    let unmet = report.unmet.iter().map(|unmet| u64::from(unmet.count));
    let served = u64::from(report.served_idle) + u64::from(report.served_new);
    let accounted = served + unmet.sum::<u64>();
    if report.wanted != class.count || accounted != u64::from(class.count) {
        violations.push(Violation::WrongCount {
            class: class.id.clone(),
            wanted: class.count,
            accounted,
        });
    }
}

/// Adds slices of a GPU to a supply.
fn count<'a>(gpu: &'a GpuState, slices: impl Iterator<Item = &'a Slice>, supply: &mut Supply<'a>) {
    for slice in slices {
        if let Some(profile) = gpu.board.profile(slice.profile) {
            *supply.entry(&profile.name).or_insert(0) += 1;
        }
    }
}

/// Checks that all classes together can have what they are said to get from a supply.
fn check_servable(
    classes: &Pairs<'_>,
    supply: &Supply<'_>,
    name: &'static str,
    claimed: impl Fn(&ClassReport) -> u32,
    violations: &mut Vec<Violation>,
) {
    let requests: Vec<Request<'_>> = classes
        .iter()
        .map(|(class, report)| (claimed(report), class.accept.as_slice()))
        .collect();
    let possible = lend(&requests, supply);
    for ((class, report), possible) in classes.iter().zip(possible) {
        if claimed(report) > possible {
            violations.push(Violation::NotServable {
                class: class.id.clone(),
                supply: name,
                claimed: claimed(report),
                possible,
            });
        }
    }
}

/// Checks the weight served: that it is what the report says, and that the changes raise it.
fn check_weight(
    classes: &Pairs<'_>,
    demand: &Demand,
    present: &Supply<'_>,
    changes: &Changes<'_>,
    report: &Report,
    violations: &mut Vec<Violation>,
) {
    let weigh = |class: &DemandClass, served: u64| class.weight.saturating_mul(served);
    let served = classes.iter().map(|(class, report)| {
        let served = u64::from(report.served_idle) + u64::from(report.served_new);
        weigh(class, served)
    });
    let weight = served.fold(0, u64::saturating_add);
    if report.weight != weight {
        violations.push(Violation::WrongWeight {
            claimed: report.weight,
            sum: weight,
        });
    }
    let mut heaviest: Vec<&DemandClass> = demand.classes.iter().collect();
    heaviest.sort_by_key(|class| Reverse(class.weight));
    let requests: Vec<Request<'_>> = heaviest
        .iter()
        .map(|class| (class.count, class.accept.as_slice()))
        .collect();
    let served = heaviest.iter().zip(lend(&requests, present));
    let without = served.map(|(class, served)| weigh(class, u64::from(served)));
    let without = without.fold(0, u64::saturating_add);
    if weight < without {
        violations.push(Violation::Worse { weight, without });
    } else if weight == without && !changes.is_empty() {
        violations.push(Violation::NoGain { weight });
    }
}
