//! The words of setpoint, as types: digests, references, names, sizes, durations, ports, and the resolved
//! specifications that are stored, compared and executed. Knows nothing of files, the kernel or the network.

pub mod attest_words;
pub mod build;
pub mod build_words;
pub mod change;
pub mod digest;
pub mod duration;
pub mod id;
pub mod instance;
pub mod packing;
pub mod platform;
pub mod port;
pub mod problem;
pub mod progress;
pub mod pull_policy;
pub mod reference;
pub mod restart;
pub mod signal;
pub mod size;
pub mod spec;
pub mod tag_policy;

pub use digest::Digest;
pub use duration::Span;
pub use id::{ContainerId, Name, Owner};
pub use instance::Instance;
pub use packing::{Compression, Packing};
pub use platform::Platform;
pub use port::{PortMapping, Protocol, places_overlap};
pub use problem::{Problem, did_you_mean};
pub use progress::{Phase, Progress, ProgressSink};
pub use pull_policy::PullPolicy;
pub use reference::ImageRef;
pub use restart::RestartPolicy;
pub use signal::Signal;
pub use size::{ByteSize, Cpus};
pub use tag_policy::TagPolicy;

/// Implements serde (as a string) for a type that has `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($type:ty, $pattern:expr, $about:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern, "description": $about})
            }
        }
    };
}
pub(crate) use serde_as_text;
