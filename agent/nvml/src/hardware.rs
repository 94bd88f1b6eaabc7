//! What a GPU's kind and place in the machine say about changes of its MIG mode.

use std::fmt;

use nvml_wrapper::{
    Device,
    enums::device::{DeviceArchitecture, SampleValue},
    structs::device::FieldId,
};

use crate::{Error, call::wrapped};

/// `NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED`.
const RESETLESS_MIG: FieldId = FieldId(184);

/// Facts about one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Its users have `/dev/nvidia<minor>` open. Not the NVML index, and another one may hold after a change of MIG mode.
    pub minor: u32,
    /// Where it is in the machine.
    pub pci: Pci,
    /// Whether MIG mode changes without a reset of the GPU; then it is also lost when the driver goes, as at a reboot.
    pub resetless: bool,
}

/// A place on the PCI bus. Written as the kernel does: `0000:07:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pci {
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u32,
    /// Device on the bus.
    pub device: u32,
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.0")
    }
}

pub(crate) fn read(device: &Device<'_>) -> Result<Hardware, Error> {
    let pci = wrapped("nvmlDeviceGetPciInfo_v3", || device.pci_info())?;
    Ok(Hardware {
        pci: Pci {
            domain: pci.domain,
            bus: pci.bus,
            device: pci.device,
        },
        minor: wrapped("nvmlDeviceGetMinorNumber", || device.minor_number())?,
        resetless: is_resetless(device),
    })
}

/// As the driver says; one that does not is asked for the architecture: Ampere is the only one with MIG that needs a reset.
fn is_resetless(device: &Device<'_>) -> bool {
    let fields = wrapped("nvmlDeviceGetFieldValues", || {
        device.field_values_for(&[RESETLESS_MIG])
    });
    let said = fields.ok().and_then(|fields| {
        let value = fields.into_iter().next()?.ok()?.value.ok()?;
        Some(match value {
            SampleValue::U32(value) => value != 0,
            SampleValue::U64(value) => value != 0,
            SampleValue::I64(value) => value != 0,
            SampleValue::F64(_) => return None,
        })
    });
    if let Some(said) = said {
        return said;
    }
    let architecture = wrapped("nvmlDeviceGetArchitecture", || device.architecture());
    // One that the wrapper does not know is newer than it.
    !matches!(architecture, Ok(DeviceArchitecture::Ampere))
}
