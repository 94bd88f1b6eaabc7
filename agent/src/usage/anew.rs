//! A kubelet that began anew: pods come into its answers one by one, as it hears of them from the API server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::kubelet::Holdings;

/// What was held when the kubelet began anew, as long as its answers may not be complete: for some time, and until it names any pod. Pure:
/// the time is given.
#[derive(Debug)]
pub(super) struct Anew {
    settles: Duration,
    /// Since when, and what was held then.
    before: Option<(Instant, Arc<Holdings>)>,
}

impl Anew {
    /// With kubelets whose answers may not be complete for so long after they began.
    pub(super) fn new(settles: Duration) -> Self {
        Self {
            settles,
            before: None,
        }
    }

    /// The kubelet has ended or begun anew. `told` is what was held.
    pub(super) fn begins(&mut self, now: Instant, told: &Arc<Holdings>) {
        self.before = Some((now, Arc::clone(told)));
    }

    /// An answer to a question of `asked`, with what it may lack.
    pub(super) fn complete(&mut self, asked: Instant, answer: Holdings) -> Holdings {
        let Some((since, before)) = &self.before else {
            return answer;
        };
        if answer.names_pods() && asked >= *since + self.settles {
            self.before = None;
            return answer;
        }
        answer.or_as_before(before)
    }
}

#[cfg(test)]
mod tests {
    use mica_model::{Container, Pod};
    use mica_proto::podresources::{ListPodResourcesResponse, PodResources};

    use super::*;

    const SETTLES: Duration = Duration::from_secs(15);

    /// An answer that names a pod without devices, or none.
    fn answer(names_a_pod: bool) -> Holdings {
        let pod = PodResources {
            name: "agent".to_owned(),
            namespace: "mica".to_owned(),
            containers: Vec::new(),
        };
        let pod_resources = Vec::from_iter(names_a_pod.then_some(pod));
        ListPodResourcesResponse { pod_resources }.into()
    }

    fn container(pod: &str) -> Container {
        Container {
            pod: Pod {
                namespace: "acme".to_owned(),
                name: pod.to_owned(),
            },
            name: "main".to_owned(),
        }
    }

    #[test]
    fn what_was_held_stays_held_until_the_new_kubelet_knows_its_pods() {
        let began = Instant::now();
        let mut before = answer(true);
        before.add("MIG-1", container("train"));
        before.add("MIG-2", container("infer"));
        let mut anew = Anew::new(SETTLES);
        assert_eq!(anew.complete(began, before.clone()), before);
        anew.begins(began, &Arc::new(before));
        let holders = |anew: &mut Anew, after: Duration, answer: Holdings| {
            let told = anew.complete(began + after, answer);
            ["MIG-1", "MIG-2"].map(|uuid| told.of(uuid).first().map(|it| it.pod.name.clone()))
        };
        let as_before = [Some("train".to_owned()), Some("infer".to_owned())];
        assert_eq!(holders(&mut anew, Duration::ZERO, answer(false)), as_before);
        // One device has been given to another pod since.
        let mut partly = answer(true);
        partly.add("MIG-2", container("next"));
        let partly = holders(&mut anew, SETTLES / 2, partly);
        assert_eq!(partly, [Some("train".to_owned()), Some("next".to_owned())]);
        // A node has pods, so this kubelet has not heard of them yet.
        assert_eq!(holders(&mut anew, SETTLES * 9, answer(false)), as_before);
        assert_eq!(holders(&mut anew, SETTLES, answer(true)), [None, None]);
        assert_eq!(holders(&mut anew, SETTLES, answer(false)), [None, None]);
    }
}
