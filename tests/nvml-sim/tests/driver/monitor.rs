//! What monitors read.

use nvml_sim::NodeOptions;

use crate::client::{rig, rig_with};

#[test]
fn versions() {
    let rig = rig(&["a100-40gb"]);
    assert_eq!(rig.client.driver_version().unwrap(), "580.95.05");
}

#[test]
fn utilisation_is_for_gpus_without_mig() {
    let rig = rig_with(&["a100-40gb"], false, &NodeOptions::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(client.utilization(gpu), Ok(0));
    rig.node.start_process(0, None, 7, 1 << 30).unwrap();
    assert!(client.utilization(gpu).unwrap() > 0);
    assert_eq!(
        client.processes(gpu).unwrap(),
        [(7, 1 << 30, u32::MAX, u32::MAX)]
    );
    rig.node.stop_process(7).unwrap();
    client.set_mig_mode(gpu, 1).unwrap();
    assert_eq!(client.utilization(gpu), Err(3));
}

#[test]
fn memory_checks_its_version() {
    let rig = rig(&["a100-40gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.memory_v2(gpu, 0x0200_0028), Ok(40_960 << 20));
    assert_eq!(rig.client.memory_v2(gpu, 0x0100_0028), Err(25));
}

#[test]
fn no_gpm_before_hopper() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    client.create(gpu, 0).unwrap();
    assert_eq!(client.gpm_supported(gpu), Ok(false));
    let sample = client.gpm_sample().unwrap();
    assert_eq!(client.gpm_take(gpu, 0, sample), Err(3));
}

#[test]
fn gpm_follows_processes() {
    let rig = rig(&["h100-sxm5-80gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(client.gpm_supported(gpu), Ok(true));
    let instance = client.create(gpu, 9).unwrap();
    client.create_compute(instance, 2).unwrap();
    let (gi, ..) = client.info(instance).unwrap();
    let samples = [client.gpm_sample().unwrap(), client.gpm_sample().unwrap()];
    assert_eq!(
        client.gpm_metrics(samples, &[1]),
        Err(2),
        "nothing taken yet"
    );
    let measure = || {
        for sample in samples {
            client.gpm_take(gpu, gi, sample).unwrap();
        }
        client.gpm_metrics(samples, &[1, 5, 10, 200]).unwrap()
    };
    assert_eq!(
        measure(),
        [(0, 0.0), (0, 0.0), (0, 0.0), (3, 0.0)],
        "idle; a metric that is not simulated"
    );
    rig.node.start_process(0, Some(gi), 7, 1 << 30).unwrap();
    let busy = measure();
    assert!((30.0..=95.0).contains(&busy[0].1), "{busy:?}");
    assert!(busy[2].1 > 0.0 && busy[2].1 < busy[0].1, "{busy:?}");
    assert_eq!(
        client.gpm_take(gpu, 5, samples[0]),
        Err(2),
        "no such instance"
    );
    client.gpm_free(samples[0]).unwrap();
    assert_eq!(client.gpm_free(samples[0]), Err(2), "freed");
    assert_eq!(client.gpm_metrics(samples, &[1]), Err(2), "freed");
}
