//! Images, networks and volumes as people list them.

use time::OffsetDateTime;

use super::table::{self, Cell, bytes};
use crate::cli::time::ago;
use crate::model::{ImageRef, Owner};
use crate::observed::{Image, Network, Volume};
use crate::wire::native::Found;

/// One line a name; an image without a name has one of its own.
pub fn images(images: &[Image], now: OffsetDateTime, whole: bool, colour: bool) -> String {
    let mut rows: Vec<[Cell; 5]> = Vec::new();
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.references.cmp(&b.references)));
    for image in sorted {
        let digest = if whole { image.digest.to_string() } else { image.digest.short() };
        let mut row = |repository: String, tag: String| {
            rows.push([
                repository.into(),
                tag.into(),
                digest.clone().into(),
                ago(image.created, now).into(),
                bytes(image.size).into(),
            ]);
        };
        if image.references.is_empty() {
            row("<none>".into(), "<none>".into());
        }
        for reference in &image.references {
            let (repository, tag) = split(reference);
            row(repository, tag);
        }
    }
    table::render(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows, colour)
}

fn split(reference: &ImageRef) -> (String, String) {
    let text = reference.to_string();
    let name = text.split_once('@').map_or(text.as_str(), |(name, _)| name);
    match reference.tag() {
        Some(tag) => (name.strip_suffix(&format!(":{tag}")).unwrap_or(name).to_owned(), tag.to_owned()),
        None => (name.to_owned(), "<none>".into()),
    }
}

pub fn networks(networks: &[Network], colour: bool) -> String {
    let rows: Vec<[Cell; 6]> = networks
        .iter()
        .map(|network| {
            let internal = if network.spec.internal { "internal" } else { "" };
            [
                network.id.chars().take(12).collect::<String>().into(),
                network.name.to_string().into(),
                network.subnet.to_string().into(),
                network.bridge.clone().into(),
                owner(network.owner.as_ref()).into(),
                if network.faults.is_empty() { internal.into() } else { network.faults.join("; ").into() },
            ]
        })
        .collect();
    table::render(["NETWORK ID", "NAME", "SUBNET", "BRIDGE", "STACK", "NOTES"], &rows, colour)
}

pub fn volumes(volumes: &[Volume], now: OffsetDateTime, colour: bool) -> String {
    let rows: Vec<[Cell; 4]> = volumes
        .iter()
        .map(|volume| {
            [
                volume.name.to_string().into(),
                owner(volume.owner.as_ref()).into(),
                ago(volume.created, now).into(),
                if volume.present { volume.path.display().to_string().into() } else { "its folder is gone".into() },
            ]
        })
        .collect();
    table::render(["VOLUME NAME", "STACK", "CREATED", "PATH"], &rows, colour)
}

pub fn found(found: &[Found], whole: bool, colour: bool) -> String {
    let rows: Vec<[Cell; 4]> = found
        .iter()
        .map(|found| {
            let description = if whole { found.description.clone() } else { table::shorten(&found.description, 60) };
            let official = if found.official { "[OK]" } else { "" };
            [found.name.clone().into(), description.into(), found.stars.to_string().into(), official.into()]
        })
        .collect();
    table::render(["NAME", "DESCRIPTION", "STARS", "OFFICIAL"], &rows, colour)
}

fn owner(owner: Option<&Owner>) -> String {
    owner.map(|owner| owner.stack.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn an_image_has_a_line_for_each_name() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let image = |references: &[&str], created| Image {
            digest: Digest::of(references.concat().as_bytes()),
            references: references.iter().map(|text| text.parse().unwrap()).collect(),
            size: 13_240_000,
            created: at(created),
            imported_from: None,
        };
        let all = [image(&["nginx:1.27", "localhost:5000/a/b:v1"], 1_000), image(&[], 2_000)];
        insta::assert_snapshot!(images(&all, at(90_000), false, false), @r"
        REPOSITORY           TAG      IMAGE ID       CREATED        SIZE
        <none>               <none>   e3b0c44298fc   24 hours ago   13.2MB
        nginx                1.27     28ff9f832ec6   25 hours ago   13.2MB
        localhost:5000/a/b   v1       28ff9f832ec6   25 hours ago   13.2MB
        ");
    }
}
