//! The agent against the simulated driver: the same library, loaded the same way, as on hardware.

#[cfg(test)]
mod care;
#[cfg(test)]
mod churn;
#[cfg(test)]
mod coordinator;
#[cfg(test)]
mod device_plugin;
#[cfg(test)]
mod execute;
#[cfg(test)]
mod http;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod kubelet;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mode;
#[cfg(test)]
mod named_layouts;
#[cfg(test)]
mod node;
#[cfg(test)]
mod program;
#[cfg(test)]
mod running;
#[cfg(test)]
mod sick;
#[cfg(test)]
mod token;
#[cfg(test)]
mod uplink;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod verbs;
