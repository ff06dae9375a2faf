//! A list of packages as a document of SPDX 2.3. Source: the SPDX specification 2.3, in its form as JSON. Pure.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{COVERS, Package};
use crate::model::Digest;

/// What predicates of this kind are called.
pub(in crate::engine::build) const PREDICATE: &str = "https://spdx.dev/Document";
const NOTHING: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The document about what is called `name`, and has the files that `content` stands for.
pub(in crate::engine::build) fn document(name: &str, content: &str, packages: &[Package], made: OffsetDateTime) -> Value {
    // The time has no fractions there.
    let made = made.replace_nanosecond(0).unwrap_or(made).format(&Rfc3339).unwrap_or_default();
    let id = Digest::of(format!("{name} {content} {made}").as_bytes()).hex().to_string();
    let uuid = format!("{}-{}-8{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..32]);
    let mut all = vec![json!({
        "SPDXID": IMAGE,
        "name": name,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": IMAGE,
    })];
    for package in packages {
        let id = identity(package);
        relations.push(json!({"spdxElementId": IMAGE, "relationshipType": "CONTAINS", "relatedSpdxElement": id}));
        all.push(described(package, &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:uuid:{uuid}"),
        "creationInfo": {
            "created": made,
            "creators": [format!("Tool: setpoint-{}", env!("CARGO_PKG_VERSION"))],
            "comment": COVERS,
        },
        "packages": all,
        "relationships": relations,
    })
}

fn described(package: &Package, id: &str) -> Value {
    let license = package.license.as_deref().filter(|license| is_expression(license)).unwrap_or(NOTHING);
    let mut said = json!({
        "SPDXID": id,
        "name": package.name,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": license,
        "copyrightText": NOTHING,
        "sourceInfo": format!("found in /{}", package.from.trim_start_matches('/')),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url,
        }],
    });
    if !package.version.is_empty() {
        said["versionInfo"] = package.version.clone().into();
    }
    if let Some(supplier) = &package.supplier {
        said["supplier"] = format!("Person: {supplier}").into();
    }
    // What is no expression is told all the same.
    if let Some(license) = package.license.as_ref().filter(|license| !is_expression(license)) {
        said["licenseComments"] = format!("declared as: {license}").into();
    }
    said
}

/// Whether a license may be an expression of SPDX: identifiers with AND, OR, WITH and parentheses between them. Which identifiers
/// there are is not looked at.
fn is_expression(text: &str) -> bool {
    let words: Vec<&str> = text.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let is_identifier = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'));
    let alternate = |(at, word): (usize, &&str)| match at % 2 {
        0 => is_identifier(word) && !matches!(*word, "AND" | "OR" | "WITH"),
        _ => matches!(*word, "AND" | "OR" | "WITH"),
    };
    words.len() % 2 == 1 && words.iter().enumerate().all(alternate) && text.matches('(').count() == text.matches(')').count()
}

/// Letters, digits, dots and dashes only, and another one for each package of each file.
fn identity(package: &Package) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = package.name.chars().map(plain).take(80).collect();
    let rest = Digest::of(format!("{} {}", package.url, package.from).as_bytes()).hex().to_string();
    format!("SPDXRef-Package-{name}-{}", &rest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licenses_that_are_expressions_are_told_from_others() {
        for (text, expected) in [
            ("MIT", true),
            ("GPL-2.0-only AND MIT", true),
            ("(MIT OR Apache-2.0) AND BSD-3-Clause", true),
            ("GPL-2.0-or-later WITH Classpath-exception-2.0", true),
            ("GPLv2+ and MIT", false),
            ("see LICENSE", false),
            ("", false),
            ("AND", false),
            ("(MIT", false),
        ] {
            assert_eq!(is_expression(text), expected, "{text}");
        }
    }
}
