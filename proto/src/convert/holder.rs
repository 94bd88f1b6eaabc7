//! Who holds a GPU, and what it waits for.

use mica_model::{Holder, WaitsFor};

use super::{Invalid, given, invalid};
use crate::v1;

impl From<Holder> for v1::Holder {
    fn from(
        Holder {
            pid,
            command,
            pod_uid,
            container_id,
        }: Holder,
    ) -> Self {
        Self {
            pid,
            command,
            pod_uid: pod_uid.unwrap_or_default(),
            container_id: container_id.unwrap_or_default(),
        }
    }
}

impl From<v1::Holder> for Holder {
    fn from(
        v1::Holder {
            pid,
            command,
            pod_uid,
            container_id,
        }: v1::Holder,
    ) -> Self {
        Self {
            pid,
            command,
            pod_uid: given(pod_uid),
            container_id: given(container_id),
        }
    }
}

pub(super) fn waits_for(waits_for: Option<WaitsFor>) -> v1::WaitsFor {
    match waits_for {
        None => v1::WaitsFor::Unspecified,
        Some(WaitsFor::Agent) => v1::WaitsFor::Agent,
        Some(WaitsFor::Release) => v1::WaitsFor::Release,
        Some(WaitsFor::Reset) => v1::WaitsFor::Reset,
        Some(WaitsFor::Reboot) => v1::WaitsFor::Reboot,
    }
}

pub(super) fn read_waits_for(wire: i32) -> Result<Option<WaitsFor>, Invalid> {
    match v1::WaitsFor::try_from(wire) {
        Ok(v1::WaitsFor::Unspecified) => Ok(None),
        Ok(v1::WaitsFor::Agent) => Ok(Some(WaitsFor::Agent)),
        Ok(v1::WaitsFor::Release) => Ok(Some(WaitsFor::Release)),
        Ok(v1::WaitsFor::Reset) => Ok(Some(WaitsFor::Reset)),
        Ok(v1::WaitsFor::Reboot) => Ok(Some(WaitsFor::Reboot)),
        Err(_) => Err(invalid(
            "gpus.waits_for",
            format!("{wire} is nothing to wait for"),
        )),
    }
}
