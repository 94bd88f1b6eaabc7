//! What stands on a GPU after its change, by an arithmetic of its own.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Board, Engines, Slice};

use super::Violation;
use crate::{GpuChange, GpuState};

/// Checks what a change destroys, what it creates, and what then stands there.
pub(super) fn check(gpu: &GpuState, change: &GpuChange, violations: &mut Vec<Violation>) {
    let mut standing: BTreeSet<Slice> = gpu.in_use.0.union(&gpu.idle.0).copied().collect();
    let name = |slice: &Slice| name(&gpu.board, slice);
    for slice in &change.destroy {
        if gpu.in_use.0.contains(slice) {
            violations.push(Violation::DestroysInUse {
                gpu: gpu.id.clone(),
                slice: name(slice),
            });
        } else if !standing.remove(slice) {
            violations.push(Violation::DestroysMissing {
                gpu: gpu.id.clone(),
                slice: name(slice),
            });
        }
    }
    for slice in &change.create {
        if !standing.insert(*slice) || gpu.idle.0.contains(slice) {
            violations.push(Violation::CreatesPresent {
                gpu: gpu.id.clone(),
                slice: name(slice),
            });
        }
        if !is_offered(&gpu.board, slice) {
            violations.push(Violation::NotOffered {
                gpu: gpu.id.clone(),
                slice: name(slice),
            });
        }
    }
    let broken = broken_rules(gpu, &standing);
    if broken.is_empty() {
        for slice in &change.destroy {
            let mut with = standing.clone();
            if with.insert(*slice) && broken_rules(gpu, &with).is_empty() {
                violations.push(Violation::NeedlessDestroy {
                    gpu: gpu.id.clone(),
                    slice: name(slice),
                });
            }
        }
    }
    violations.extend(broken);
}

/// `3g.20gb@4`.
fn name(board: &Board, slice: &Slice) -> String {
    let profile = board.profile_name(slice.profile);
    format!("{profile}@{}", slice.placement.start)
}

fn is_offered(board: &Board, slice: &Slice) -> bool {
    board
        .profiles
        .iter()
        .any(|profile| profile.id == slice.profile && profile.placements.contains(&slice.placement))
}

/// The rules of slots, counts and engines that a set of slices breaks.
fn broken_rules(gpu: &GpuState, standing: &BTreeSet<Slice>) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut slots = BTreeSet::new();
    for slice in standing {
        let start = slice.placement.start;
        for slot in start..start.saturating_add(slice.placement.size) {
            if !slots.insert(slot) {
                broken.push(Violation::Overlap {
                    gpu: gpu.id.clone(),
                    slot,
                });
            }
        }
    }
    let mut counts = BTreeMap::new();
    for slice in standing {
        *counts.entry(slice.profile).or_insert(0u32) += 1;
    }
    let mut wanted = [0u32; 5];
    for profile in &gpu.board.profiles {
        let count = counts.get(&profile.id).copied().unwrap_or(0);
        if count > profile.max_instances {
            broken.push(Violation::TooMany {
                gpu: gpu.id.clone(),
                profile: profile.name.clone(),
                count,
                max: profile.max_instances,
            });
        }
        for (sum, (_, engines)) in wanted.iter_mut().zip(named(profile.engines)) {
            *sum += engines * count;
        }
    }
    for (wanted, (engine, capacity)) in wanted.into_iter().zip(named(gpu.board.engines)) {
        if wanted > capacity {
            broken.push(Violation::Engines {
                gpu: gpu.id.clone(),
                engine,
                wanted,
                capacity,
            });
        }
    }
    broken
}

fn named(engines: Engines) -> [(&'static str, u32); 5] {
    let Engines {
        copy,
        decoders,
        encoders,
        jpeg,
        ofa,
    } = engines;
    [
        ("copy engines", copy),
        ("decoders", decoders),
        ("encoders", encoders),
        ("JPEG decoders", jpeg),
        ("optical flow accelerators", ofa),
    ]
}
