//! Which slices are kept for what pods need. Pure.

use std::collections::BTreeMap;

use mica_model::{Pod as PodName, Slice};

use super::{
    Node,
    needs::{Needs, device, is_known},
};

/// Chooses slices for what pods need: those that are kept for them already, then the best of the others.
pub(super) fn choose(
    node: &Node,
    needs: &Needs<'_>,
    former: Option<&BTreeMap<(String, Slice), PodName>>,
) -> BTreeMap<(String, Slice), PodName> {
    let mut candidates: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for gpu in &node.gpus {
        for instance in &gpu.gpu.instances {
            if !instance.in_use.containers.is_empty() {
                continue;
            }
            let Some((name, uuid)) = device(gpu, instance) else {
                continue;
            };
            let worse = (!instance.is_free(), !is_known(node, &name, uuid));
            let place = (gpu.gpu.uuid.clone(), instance.slice);
            candidates.entry(name).or_default().push((worse, place));
        }
    }
    for places in candidates.values_mut() {
        places.sort();
    }
    let mut kept = BTreeMap::new();
    for again in [true, false] {
        for (pod, needed) in needs {
            for (resource, count) in needed {
                let Some(candidates) = candidates.get(*resource) else {
                    continue;
                };
                let mine =
                    |kept: &BTreeMap<_, _>, place: &(String, Slice)| kept.get(place) == Some(*pod);
                let has = candidates
                    .iter()
                    .filter(|(_, place)| mine(&kept, place))
                    .count();
                let missing = usize::try_from(*count)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(has);
                let fits = |place: &(String, Slice)| {
                    let before = former.and_then(|former| former.get(place));
                    if again { before == Some(*pod) } else { true }
                };
                let free: Vec<_> = candidates
                    .iter()
                    .map(|(_, place)| place)
                    .filter(|place| !kept.contains_key(*place) && fits(place))
                    .take(missing)
                    .cloned()
                    .collect();
                kept.extend(free.into_iter().map(|place| (place, (*pod).clone())));
            }
        }
    }
    kept
}
