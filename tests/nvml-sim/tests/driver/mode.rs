//! MIG mode by architecture.

use nvml_sim::{NodeError, NodeOptions};
use rstest::rstest;

use crate::client::{rig, rig_with};

#[rstest]
#[case("a100-40gb", 0)]
#[case("h100-sxm5-80gb", 1)]
#[case("rtx-pro-6000-blackwell-96gb", 1)]
fn an_idle_gpu_changes_at_once(#[case] board: &str, #[case] without_reset: u32) {
    let rig = rig_with(&[board], false, &NodeOptions::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(
        client.field(gpu, 184),
        Ok((0, without_reset)),
        "whether it does so without a reset"
    );
    assert_eq!(
        client.field(gpu, 199),
        Ok((0, 1)),
        "profiles can be read in either mode"
    );
    assert_eq!(client.mig_mode(gpu), Ok((0, 0)));
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0));
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
    client.create(gpu, 0).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0), "it is on already");
    assert_eq!(client.remaining(gpu, 0), Ok(0), "and its instance stays");
    assert_eq!(client.set_mig_mode(gpu, 0), Ok(0));
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0));
    assert_eq!(
        client.instances(gpu, 0),
        Ok(vec![]),
        "instances do not outlive the mode"
    );
    assert_eq!(client.set_mig_mode(gpu, 2), Err(2));
}

#[rstest]
#[case("a100-40gb")]
#[case("h100-sxm5-80gb")]
fn a_busy_gpu_keeps_its_mode_until_it_is_idle(#[case] board: &str) {
    let rig = rig_with(&[board], false, &NodeOptions::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    rig.node.start_process(0, None, 42, 1 << 30).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(19));
    assert_eq!(client.mig_mode(gpu), Ok((0, 1)), "pending");
    assert_eq!(client.create(gpu, 19), Err(3));
    assert!(matches!(rig.node.reset_gpu(0), Err(NodeError::InUse(0))));
    rig.node.stop_process(42).unwrap();
    assert_eq!(
        client.mig_mode(gpu),
        Ok((0, 1)),
        "nothing happens by itself"
    );
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0), "asked again");
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
    assert!(
        nvml_sim::judge::judge(&rig.node.log().unwrap()).is_clean(),
        "pending takes nothing away"
    );
}

#[test]
fn a_reset_applies_a_pending_mode() {
    let rig = rig_with(&["a100-40gb"], false, &NodeOptions::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    rig.node.start_process(0, None, 42, 1 << 30).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(19));
    rig.node.stop_process(42).unwrap();
    rig.node.reset_gpu(0).unwrap();
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
}

#[test]
fn a_busy_instance_holds_the_mode_on() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 19).unwrap();
    client.create_compute(instance, 0).unwrap();
    rig.node
        .start_process(0, Some(client.info(instance).unwrap().0), 42, 1 << 30)
        .unwrap();
    assert_eq!(client.set_mig_mode(gpu, 0), Ok(19));
    assert_eq!(client.mig_mode(gpu), Ok((1, 0)));
    assert_eq!(client.processes(gpu).unwrap().len(), 1);
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0), "takes the request back");
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
}

#[test]
fn a_board_without_mig_answers_3_and_lives_beside_others() {
    let rig = rig(&["l4-24gb", "a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(client.name(gpu).unwrap(), "NVIDIA L4");
    assert_eq!(client.mig_mode(gpu), Err(3));
    for mode in [0, 1] {
        assert_eq!(client.set_mig_mode(gpu, mode), Err(3));
    }
    assert_eq!(client.max_mig(gpu), Ok(0), "never an error");
    assert_eq!(client.mig(gpu, 0), Err(3));
    assert_eq!(client.profile(gpu, 0).map(|info| info.id), Err(3));
    assert_eq!(client.placements(gpu, 19), Err(3));
    assert_eq!(client.remaining(gpu, 19), Err(3));
    assert_eq!(client.create(gpu, 19), Err(3));
    assert_eq!(client.instances(gpu, 19), Err(3));
    assert_eq!(client.instance(gpu, 0), Err(3));
    assert_eq!(client.field(gpu, 184).map(|(code, _)| code), Ok(3));
    assert_eq!(client.gpm_supported(gpu), Ok(false));
    assert_eq!(client.utilization(gpu), Ok(0));
    rig.node.start_process(0, None, 7, 1 << 30).unwrap();
    assert_eq!(
        client.processes(gpu).unwrap(),
        [(7, 1 << 30, u32::MAX, u32::MAX)]
    );
    let other = client.gpu(1).unwrap();
    assert_eq!(client.mig_mode(other), Ok((1, 1)));
    assert!(
        rig.node
            .log()
            .unwrap()
            .iter()
            .all(|event| event.mig.is_none())
    );
}
