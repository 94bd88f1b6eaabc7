//! How busy an instance is, by NVML's GPM counters (Hopper and newer).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mica_model::{Gpu, Instance, Slice};
use nvml_wrapper::{Device, Nvml, enums::gpm::GpmMetricId, gpm::gpm_metrics_get};
use tracing::debug;

use crate::{Code, Error, call::wrapped, raw::StoredSample};

/// How busy an instance was between two looks, in fractions of its own capacity from 0 to 1; `None` for what the driver does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Time in which the graphics or compute engine was busy (GPM metric 1).
    pub graphics: Option<f64>,
    /// Time in which a multiprocessor had work, averaged over them (GPM metric 2).
    pub multiprocessors: Option<f64>,
    /// Time in which tensor cores were busy (GPM metric 5).
    pub tensor: Option<f64>,
    /// Share of the memory bandwidth in use (GPM metric 10).
    pub memory_bandwidth: Option<f64>,
}

/// NVIDIA asks for at least this much time between two samples.
const SPACING: Duration = Duration::from_millis(100);

/// The last sample of each instance, by UUID of the GPU and GPU instance id.
#[derive(Default)]
pub(crate) struct Activities(BTreeMap<(String, u32), Last>);

struct Last {
    identity: Identity,
    at: Instant,
    sample: StoredSample,
    activity: Option<Activity>,
}

/// Tells an instance from another that was made in its place under the same id, as far as the driver lets one.
#[derive(PartialEq, Eq)]
struct Identity {
    slice: Slice,
    uuid: Option<String>,
}

impl Identity {
    fn of(instance: &Instance) -> Self {
        Self {
            slice: instance.slice,
            uuid: instance.compute.as_ref().map(|known| known.uuid.clone()),
        }
    }
}

impl Activities {
    /// The activity of the instances of a GPU since they were last asked for, by GPU instance id. See
    /// [`Driver::activities`](crate::Driver::activities).
    pub(crate) fn of(
        &mut self,
        nvml: &Arc<Nvml>,
        device: &Device<'_>,
        gpu: &Gpu,
    ) -> Result<BTreeMap<u32, Activity>, Error> {
        let stands = |gi| gpu.instances.iter().any(|instance| instance.gi == gi);
        self.0
            .retain(|(uuid, gi), _| *uuid != gpu.uuid || stands(*gi));
        if !supported(device)? {
            return Ok(BTreeMap::new());
        }
        let mut activities = BTreeMap::new();
        for instance in &gpu.instances {
            match self.measure(nvml, device, &gpu.uuid, instance) {
                Ok(activity) => activities.extend(activity.map(|known| (instance.gi, known))),
                Err(error) => {
                    debug!(gpu = gpu.uuid, gi = instance.gi, %error, "activity cannot be read");
                }
            }
        }
        Ok(activities)
    }

    fn measure(
        &mut self,
        nvml: &Arc<Nvml>,
        device: &Device<'_>,
        gpu: &str,
        instance: &Instance,
    ) -> Result<Option<Activity>, Error> {
        let identity = Identity::of(instance);
        let key = (gpu.to_owned(), instance.gi);
        let last = match self.0.remove(&key).filter(|last| last.identity == identity) {
            Some(last) if last.at.elapsed() < SPACING => {
                let activity = last.activity;
                self.0.insert(key, last);
                return Ok(activity);
            }
            last => last,
        };
        let sample = StoredSample::take(nvml, device, instance.gi)?;
        let activity = last
            .map(|last| compare(nvml, &last.sample, &sample))
            .transpose()?;
        let at = Instant::now();
        self.0.insert(
            key,
            Last {
                identity,
                at,
                sample,
                activity,
            },
        );
        Ok(activity)
    }

    /// Starts again with an instance, because it goes or has come.
    pub(crate) fn forget(&mut self, gpu: &str, gi: u32) {
        self.0.remove(&(gpu.to_owned(), gi));
    }

    /// Starts again with all instances of a GPU.
    pub(crate) fn forget_gpu(&mut self, uuid: &str) {
        self.0.retain(|(gpu, _), _| gpu != uuid);
    }
}

/// Whether the GPU has the counters. A driver that does not know the question has none.
fn supported(device: &Device<'_>) -> Result<bool, Error> {
    // A sample that cannot be freed is not taken.
    if device.nvml().lib().nvmlGpmSampleFree.is_err() {
        return Ok(false);
    }
    match wrapped("nvmlGpmQueryDeviceSupport", || device.gpm_support()) {
        Err(error) if error.is_missing() || error.code() == Some(Code::NOT_SUPPORTED) => Ok(false),
        supported => supported,
    }
}

fn compare(nvml: &Nvml, from: &StoredSample, to: &StoredSample) -> Result<Activity, Error> {
    let metrics = [
        GpmMetricId::GraphicsUtil,
        GpmMetricId::SmUtil,
        GpmMetricId::AnyTensorUtil,
        GpmMetricId::DramBwUtil,
    ];
    // In the order asked for; each has a return code of its own.
    let mut values = wrapped("nvmlGpmMetricsGet", || {
        gpm_metrics_get(nvml, &from.get(), &to.get(), &metrics)
    })?
    .into_iter()
    .map(|metric| fraction(metric.ok()?.value));
    let mut next = || values.next().flatten();
    Ok(Activity {
        graphics: next(),
        multiprocessors: next(),
        tensor: next(),
        memory_bandwidth: next(),
    })
}

/// A percentage as a fraction; `None` when it is none, as of counters that were reset in between.
fn fraction(percent: f64) -> Option<f64> {
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_percentages_become_fractions() {
        assert_eq!(fraction(0.0), Some(0.0));
        assert_eq!(fraction(25.0), Some(0.25));
        assert_eq!(fraction(100.0), Some(1.0));
        for nonsense in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(fraction(nonsense), None, "{nonsense}");
        }
    }
}
