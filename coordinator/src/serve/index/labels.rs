//! Labels of managed nodes: their state, and what slices they have, as NVIDIA's GPU Feature Discovery describes them.

use std::collections::BTreeMap;

use mica_model::{Board, Profile, SLICE_PREFIX, resource_name};
use mica_proto::v1;

use super::{Index, Node, Write};
use crate::serve::objects::{
    NodeObject,
    names::{DEVICE_PLUGIN, STATE, STRATEGY},
};

/// Kubernetes takes no longer value of a label.
const LONGEST_VALUE: usize = 63;

/// What is said of the slices of one name; a key is the resource name with one of these.
const PROPERTIES: [&str; 13] = [
    ".count",
    ".product",
    ".memory",
    ".multiprocessors",
    ".slices.gi",
    ".slices.ci",
    ".engines.copy",
    ".engines.decoder",
    ".engines.encoder",
    ".engines.jpeg",
    ".engines.ofa",
    ".replicas",
    ".sharing-strategy",
];

impl Index {
    /// The labels of a node that are not as they should be.
    pub(super) fn labels(&self, name: &str, node: &NodeObject) -> Option<Write> {
        let known = self.nodes.get(name);
        let state = match known.map(Node::state) {
            _ if !node.is_managed() => "refused",
            Some(v1::NodeState::Ready) => "ready",
            Some(v1::NodeState::Applying) => "applying",
            Some(v1::NodeState::Starting) => "starting",
            Some(v1::NodeState::Lost | v1::NodeState::Unspecified) | None => "lost",
        };
        let mut wanted = BTreeMap::from([(STATE.to_owned(), state.to_owned())]);
        let devices = self.devices(name);
        if node.is_managed() {
            wanted.insert(DEVICE_PLUGIN.to_owned(), "false".to_owned());
            wanted.insert(STRATEGY.to_owned(), "mixed".to_owned());
            for (resource, count) in &devices {
                if let Some(known) = known.filter(|_| *count > 0) {
                    wanted.extend(of_slices(known, resource, *count));
                }
            }
        }
        // What is said of slices is only taken away while the kubelet tells.
        let is_gone = |key: &&String| {
            !devices.is_empty()
                && key.starts_with(SLICE_PREFIX)
                && PROPERTIES.iter().any(|property| key.ends_with(property))
                && !wanted.contains_key(*key)
        };
        let gone = node.labels.keys().filter(is_gone);
        let mut labels: BTreeMap<_, _> = gone.map(|key| (key.clone(), None)).collect();
        let differing = wanted
            .into_iter()
            .filter(|(key, value)| node.labels.get(key) != Some(value));
        labels.extend(differing.map(|(key, value)| (key, Some(value))));
        let node = name.to_owned();
        (!labels.is_empty()).then_some(Write::Labels { node, labels })
    }
}

/// What is said of the slices of one name; nothing of whole GPUs, which are not ours to describe.
fn of_slices(node: &Node, resource: &str, count: u32) -> BTreeMap<String, String> {
    let boards = node.gpus.iter().filter_map(|gpu| gpu.gpu.board.as_deref());
    let found = boards
        .flat_map(|board| board.profiles.iter().map(move |profile| (board, profile)))
        .find(|(_, profile)| resource_name(&profile.name) == resource);
    let Some((board, profile)) = found else {
        return BTreeMap::new();
    };
    let Profile { engines, .. } = profile;
    let values = [
        Some(count.to_string()),
        product(board, profile),
        Some(profile.memory_mib.to_string()),
        Some(profile.multiprocessors.to_string()),
        Some(profile.slices.to_string()),
        Some(profile.slices.to_string()), // an instance has all its compute slices in one
        Some(engines.copy.to_string()),
        Some(engines.decoders.to_string()),
        Some(engines.encoders.to_string()),
        Some(engines.jpeg.to_string()),
        Some(engines.ofa.to_string()),
        Some("1".to_owned()),
        Some("none".to_owned()),
    ];
    let all = PROPERTIES.iter().zip(values);
    all.filter_map(|(property, value)| Some((format!("{resource}{property}"), value?)))
        .collect()
}

/// `NVIDIA-A100-SXM4-40GB-MIG-3g.20gb`; `None` when that would be too long to be a label's value.
fn product(board: &Board, profile: &Profile) -> Option<String> {
    let name = profile.name.replace('+', ".");
    let text = format!("{}-MIG-{name}", board.product);
    let allowed =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let text = text.replace(|letter| !allowed(letter), "-");
    let text = text.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    (text.len() <= LONGEST_VALUE).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use mica_model::testing::a100_40gb;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "NVIDIA A100-SXM4-40GB",
        "3g.20gb",
        Some("NVIDIA-A100-SXM4-40GB-MIG-3g.20gb")
    )]
    #[case(
        "NVIDIA A100-SXM4-40GB",
        "1g.5gb+me",
        Some("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me")
    )]
    #[case("GPU (rev. 2)", "1g.5gb", Some("GPU--rev.-2--MIG-1g.5gb"))]
    #[case(
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "1g.24gb+me",
        None
    )]
    fn products_are_values_of_labels(
        #[case] board: &str,
        #[case] profile: &str,
        #[case] value: Option<&str>,
    ) {
        let board = Board {
            product: board.to_owned(),
            ..a100_40gb()
        };
        let profile = Profile {
            name: profile.to_owned(),
            ..board.profiles.first().unwrap().clone()
        };
        assert_eq!(product(&board, &profile).as_deref(), value);
    }
}
