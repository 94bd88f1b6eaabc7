use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use mica_model::testing::a100_40gb;
use mica_planner::{Availability, GpuState};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::serve::{objects::NodeObject, testing::a100};

/// Nodes with GPUs.
struct World {
    objects: Objects,
    snapshot: Snapshot,
}

impl World {
    /// Of each node its GPUs: idle slices and, behind a bar, slices in use; a semicolon before the next.
    fn new(nodes: &[(&str, &str)]) -> Self {
        let mut objects = Objects::default();
        let board = Arc::new(a100_40gb());
        let mut gpus = Vec::new();
        for (name, slices) in nodes {
            let labels =
                json!({"mica.dev/partitioning": "dynamic", "kubernetes.io/hostname": name});
            let allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
            let object: k8s::Node = serde_json::from_value(json!({
                "metadata": {"name": name, "labels": labels},
                "status": {"allocatable": allocatable},
            }))
            .unwrap();
            objects.set_node(name, NodeObject::of(&object).map(|(_, node)| node));
            gpus.extend(slices.split(';').zip(0..).map(|(slices, index)| {
                let (idle, in_use) = slices.split_once('|').unwrap_or((slices, ""));
                GpuState {
                    id: GpuId {
                        node: (*name).to_owned(),
                        index,
                    },
                    board: Arc::clone(&board),
                    in_use: a100(in_use),
                    idle: a100(idle),
                    availability: Availability::Free,
                }
            }));
        }
        Self {
            objects,
            snapshot: Snapshot { gpus },
        }
    }

    /// A pod that nothing gates and that the scheduler has found no node for.
    fn pod(&mut self, name: &str, limits: &Value, more: &Value) {
        let mut spec = json!({"containers": [{"name": "c", "resources": {"limits": limits}}]});
        let more = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(more);
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        let object: k8s::Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": spec,
            "status": {"conditions": [condition]},
        }))
        .unwrap();
        let (name, pod) = Pod::of(&object).unwrap();
        self.objects.set_pod(&name, Some(pod));
    }

    /// Places the pods; as words, by pod: node, and slices by profile, GPU and place. How often the planner was asked.
    fn place(&mut self) -> (BTreeMap<String, String>, usize) {
        let mut asked = 0;
        let planning = |snapshot: &mut Snapshot, demand: &Demand| {
            asked += 1;
            mica_planner::check(snapshot, demand, mica_planner::plan(snapshot, demand))
        };
        let board = a100_40gb();
        let ready: BTreeMap<_, _> = self
            .snapshot
            .gpus
            .iter()
            .map(|gpu| (gpu.id.clone(), gpu.idle.clone()))
            .collect();
        let is_ready = |gpu: &GpuId, slice| ready[gpu].0.contains(&slice);
        let promised = BTreeMap::new();
        let placement = place(
            &self.objects,
            &promised,
            &mut self.snapshot,
            is_ready,
            planning,
        );
        let Placement { placed, waiting } = placement.unwrap();
        let placed = placed.into_iter().map(|placed| {
            let slices = placed.slices.iter().map(|(gpu, slice)| {
                let profile = board.profile_name(slice.profile);
                format!(" {profile}@{}:{}", gpu.index, slice.placement.start)
            });
            let words = format!("{}:{}", placed.node, slices.collect::<String>());
            (placed.pod.name, words)
        });
        let waiting = waiting.into_iter().map(|(pod, reason)| (pod.name, reason));
        (placed.chain(waiting).collect(), asked)
    }
}

fn one() -> Value {
    json!({"nvidia.com/mig-3g.20gb": "1"})
}

#[rstest]
// What is there already, wherever that is.
#[case(&[("a", ";"), ("b", "3g.20gb@0;3g.20gb@4")], "b: 3g.20gb@0:0 3g.20gb@1:4")]
// One is there, one is made; on b one would have to go.
#[case(&[("a", "3g.20gb@0|1g.5gb@6;"), ("b", "3g.20gb@0 1g.5gb@4 1g.5gb@5;|7g.40gb@0")], "a: 3g.20gb@0:0 3g.20gb@1:4")]
// Only b has room for both.
#[case(&[("a", "|3g.20gb@0;|7g.40gb@0"), ("b", ";|7g.40gb@0")], "b: 3g.20gb@0:0 3g.20gb@0:4")]
#[case(&[("a", "|3g.20gb@0"), ("b", "|3g.20gb@4")], "no node has, or can be given, all its slices at once")]
fn slices_of_one_pod_come_from_the_node_with_the_fewest_operations(
    #[case] nodes: &[(&str, &str)],
    #[case] expected: &str,
) {
    let mut world = World::new(nodes);
    world.pod("two", &json!({"nvidia.com/mig-3g.20gb": "2"}), &json!({}));
    let (words, _) = world.place();
    assert_eq!(words["two"], expected);
}

#[test]
fn the_planner_is_asked_once_for_a_pod_of_several_slices_whether_there_is_room_or_not() {
    let names: Vec<_> = (0..100).map(|number| format!("n{number:02}")).collect();
    let all = |slices: &'static str| -> Vec<_> {
        names.iter().map(|name| (name.as_str(), slices)).collect()
    };
    let two = json!({"nvidia.com/mig-3g.20gb": "2"});
    let mut free = World::new(&all(";"));
    free.pod("two", &two, &json!({}));
    let (words, asked) = free.place();
    assert_eq!(
        (words["two"].as_str(), asked),
        ("n00: 3g.20gb@0:0 3g.20gb@0:4", 1)
    );
    let mut full = World::new(&all("|3g.20gb@0;|7g.40gb@0"));
    for pod in ["one", "two", "three"] {
        full.pod(pod, &two, &json!({}));
    }
    let (words, asked) = full.place();
    assert_eq!((words.len(), asked), (3, 0));
}

#[test]
fn pods_that_find_no_room_on_a_node_get_slices_on_another() {
    let mut world = World::new(&[("a", ";"), ("b", ";")]);
    let limits = json!({"nvidia.com/mig-3g.20gb": "1", "cpu": "3"});
    for pod in ["p1", "p2", "p3"] {
        world.pod(pod, &limits, &json!({}));
    }
    let (words, _) = world.place();
    let nodes: Vec<_> = ["p1", "p2"].iter().map(|pod| &words[*pod][..1]).collect();
    assert_eq!(nodes, ["a", "b"], "{words:?}");
    assert_eq!(
        words["p3"],
        "no CPU, memory or pod is left for it on the 2 nodes that it may run on"
    );
}

#[test]
fn pods_go_where_they_may_and_the_urgent_first() {
    let mut world = World::new(&[("a", "|4g.20gb@0"), ("b", "|4g.20gb@0")]);
    let on = |node: &str, priority: i32| json!({"nodeSelector": {"kubernetes.io/hostname": node}, "priority": priority});
    world.pod("late", &one(), &on("a", 0));
    world.pod("urgent", &one(), &on("a", 5));
    world.pod("other", &one(), &on("b", 0));
    world.pod("nowhere", &one(), &on("c", 9));
    let (words, _) = world.place();
    assert_eq!(words["urgent"], "a: 3g.20gb@0:4");
    assert_eq!(words["other"], "b: 3g.20gb@0:4");
    assert!(words["late"].contains("a/0"), "{words:?}");
    assert_eq!(
        words["nowhere"],
        "node selector, affinity or taints keep the pod off all 2 nodes that Mica manages"
    );
}

#[test]
fn nothing_is_made_for_pods_that_do_not_get_it() {
    // The slices would have to stand on one node.
    let mut world = World::new(&[("a", "|4g.20gb@0"), ("b", "|4g.20gb@0")]);
    world.pod("two", &json!({"nvidia.com/mig-3g.20gb": "2"}), &json!({}));
    let before = world.snapshot.clone();
    world.place();
    assert_eq!(world.snapshot, before);
}
