//! Who uses an instance, and for whom slices are kept.

use mica_model::{Container, Generation, Pod, Reservation, Silence, Slice, Source};

use super::{Invalid, invalid};
use crate::v1;

impl From<Pod> for v1::Pod {
    fn from(Pod { namespace, name }: Pod) -> Self {
        Self { namespace, name }
    }
}

/// A pod without a name could not be told from another.
fn pod(wire: Option<v1::Pod>, field: &'static str) -> Result<Pod, Invalid> {
    let v1::Pod { namespace, name } = wire.ok_or_else(|| invalid(field, "missing"))?;
    if namespace.is_empty() || name.is_empty() {
        return Err(invalid(
            field,
            format!("{namespace:?}/{name:?} is not the name of a pod"),
        ));
    }
    Ok(Pod { namespace, name })
}

impl From<Container> for v1::Container {
    fn from(Container { pod, name }: Container) -> Self {
        Self {
            pod: Some(pod.into()),
            name,
        }
    }
}

impl TryFrom<v1::Container> for Container {
    type Error = Invalid;

    fn try_from(v1::Container { pod: of, name }: v1::Container) -> Result<Self, Invalid> {
        Ok(Self {
            pod: pod(of, "containers.pod")?,
            name,
        })
    }
}

impl From<Reservation> for v1::Reservation {
    fn from(Reservation { pod, generation }: Reservation) -> Self {
        Self {
            pod: Some(pod.into()),
            generation: generation.0,
        }
    }
}

impl TryFrom<v1::Reservation> for Reservation {
    type Error = Invalid;

    fn try_from(wire: v1::Reservation) -> Result<Self, Invalid> {
        Ok(Self {
            pod: pod(wire.pod, "reservations.pod")?,
            generation: Generation(wire.generation),
        })
    }
}

impl v1::ReservedSlice {
    /// A slice of a GPU, kept for a pod.
    #[must_use]
    pub fn new(gpu: String, slice: Slice, reservation: Reservation) -> Self {
        Self {
            gpu,
            slice: Some(slice.into()),
            reservation: Some(reservation.into()),
        }
    }

    /// UUID of the GPU, what is kept, and for whom.
    pub fn unpack(&self) -> Result<(&str, Slice, Reservation), Invalid> {
        let Self {
            gpu,
            slice,
            reservation,
        } = self;
        if gpu.is_empty() {
            return Err(invalid("reservations.slices.gpu", "missing"));
        }
        let slice = slice.ok_or_else(|| invalid("reservations.slices.slice", "missing"))?;
        let reservation = reservation.clone();
        let reservation = reservation
            .ok_or_else(|| invalid("reservations.slices.reservation", "missing"))?
            .try_into()?;
        Ok((gpu, slice.try_into()?, reservation))
    }
}

impl From<Source> for v1::UseSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Nvml => Self::Nvml,
            Source::Kubelet => Self::Kubelet,
            Source::Coordinator => Self::Coordinator,
        }
    }
}

impl From<Silence> for v1::Silence {
    /// For how long is left out: it would make a report look new that says nothing new.
    fn from(silence: Silence) -> Self {
        Self {
            source: v1::UseSource::from(silence.source).into(),
            why: silence.why,
        }
    }
}

impl TryFrom<v1::Silence> for Silence {
    type Error = Invalid;

    fn try_from(v1::Silence { source, why }: v1::Silence) -> Result<Self, Invalid> {
        let source = match v1::UseSource::try_from(source) {
            Ok(v1::UseSource::Nvml) => Source::Nvml,
            Ok(v1::UseSource::Kubelet) => Source::Kubelet,
            Ok(v1::UseSource::Coordinator) => Source::Coordinator,
            Ok(v1::UseSource::Unspecified) | Err(_) => {
                return Err(invalid(
                    "silences.source",
                    format!("{source} is not a source of use"),
                ));
            }
        };
        Ok(Self {
            source,
            age: None,
            why,
        })
    }
}
