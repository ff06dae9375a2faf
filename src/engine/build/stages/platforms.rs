//! Platforms as people write them: `arm64`, `linux`, `linux/x86_64`, `linux/arm64/v8`, in the usual spelling.
//! Source: containerd's platforms package, whose normal forms are those that TARGETPLATFORM and its kin have.

use crate::model::Platform;

/// Reads a platform; what is not said is the host's system, or the default variant.
pub(super) fn parse(text: &str, host: &Platform) -> Option<Platform> {
    let text = text.to_ascii_lowercase();
    let known =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let parts: Vec<&str> = text.split('/').collect();
    if !parts.iter().all(|part| known(part)) {
        return None;
    }
    let (os, architecture, variant) = match parts.as_slice() {
        ["local"] => return Some(normal(host.clone())),
        [os] if SYSTEMS.contains(os) => (*os, host.architecture.as_str(), host.variant.clone()),
        [architecture] if ARCHITECTURES.contains(architecture) => ("linux", *architecture, None),
        [os, architecture] => (*os, *architecture, None),
        [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
        _ => return None,
    };
    Some(normal(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant }))
}

const SYSTEMS: [&str; 5] = ["linux", "windows", "darwin", "macos", "freebsd"];
const ARCHITECTURES: [&str; 17] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm", "x86_64", "x86-64", "aarch64",
    "armhf", "armel", "i386", "mips64el",
];

/// One spelling for what is the same.
pub fn normal(platform: Platform) -> Platform {
    let variant = platform.variant.as_deref();
    let (architecture, variant) = match (platform.architecture.as_str(), variant) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386", _) => ("386", None),
        ("aarch64" | "arm64", None | Some("8" | "v8" | "v8.0")) => ("arm64", None),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        ("mips64el", variant) => ("mips64le", variant),
        (architecture, variant) => (architecture, variant),
    };
    let os = if platform.os == "macos" { "darwin" } else { platform.os.as_str() };
    Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling() {
        let host = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        for (text, expected) in [
            ("linux", Some("linux/amd64")),
            ("local", Some("linux/amd64")),
            ("arm64", Some("linux/arm64")),
            ("linux/aarch64", Some("linux/arm64")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/arm64/v9", Some("linux/arm64/v9")),
            ("Linux/X86_64", Some("linux/amd64")),
            ("arm", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/armhf", Some("linux/arm/v7")),
            ("linux/riscv64", Some("linux/riscv64")),
            ("", None),
            ("nonsense", None),
            ("linux/", None),
            ("a/b/c/d", None),
            ("linux/$x", None),
        ] {
            assert_eq!(parse(text, &host).map(|platform| platform.to_string()).as_deref(), expected, "{text}");
        }
    }
}
