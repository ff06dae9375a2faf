//! Resolved specifications: what manifests and command lines come down to. These are stored with each resource, compared
//! field by field by the planner, and executed by the engine. Long forms only, defaults filled in, all paths absolute,
//! networks and volumes by their names in the engine (`<stack>-<name>`).
//!
//! The field names are those that users write, because a difference is reported by its path (`spec.image`).

mod beyond;
mod bridge_options;
mod build;
mod cgroup_parent;
pub mod classes;
mod container;
mod devices;
mod health;
mod hook;
mod hosts;
mod image;
mod limits;
mod link_name;
mod logging;
pub mod mount_options;
mod on_change;
mod resources;
mod security;
mod sharing;
mod subnet6;
mod update;
mod users;

pub use beyond::{Beyond, Elsewhere, InvalidElsewhere};
pub use bridge_options::{BridgeOptions, InvalidBridgeOption};
pub use build::Build;
pub use cgroup_parent::{CgroupParent, InvalidCgroupParent};
pub use container::{Attachment, Condition, ContainerSpec, Dependency, Mount, Ulimit};
pub use devices::{Device, DeviceAccess, DeviceCgroupRule, VolumesFrom};
pub use health::{Healthcheck, HttpTarget, InvalidTarget, OnUnhealthy, Probe, ProbeHost, Startup, TcpTarget};
pub use hook::Hook;
pub use hosts::{Exposed, HostAddress, MacAddress};
pub use image::{Commit, ImageSource, ImageSpec, Pull, Verify};
pub use limits::{DeviceRate, DeviceWeight, IdList, ResourceLimits, SwapLimit};
pub use link_name::{InvalidLinkName, LinkName};
pub use logging::{InvalidLogging, LogDriver, Logging};
pub use on_change::{InvalidOnChange, OnChange, Watched};
pub use resources::{ConfigSpec, NetworkSpec, SecretSpec, Subnet, VolumeSpec};
pub use security::{Seccomp, Security, SecurityOption};
pub use sharing::{IpcMode, NamespaceMode, NetworkMode};
pub use subnet6::{InvalidSubnet6, Ipv6Spec, Subnet6};
pub use update::{FailureAction, InvalidRatio, Order, Ratio, Update};
pub use users::{InvalidUsers, UserRange, UsersMode};
