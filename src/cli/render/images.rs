//! Images as people list them, find them and trace them, with Docker's names of fields.

use time::{OffsetDateTime, UtcOffset};

use super::table::{self, Cell, bytes};
use crate::cli::format::{Kind, Row, column};
use crate::cli::time::{ago, clock};
use crate::engine::images::HistoryStep;
use crate::model::{Digest, ImageRef};
use crate::observed::Image;
use crate::wire::native::Found;

pub const IMAGES: Kind = Kind {
    columns: &[
        column("Repository", "REPOSITORY"),
        column("Tag", "TAG"),
        column("Digest", "DIGEST"),
        column("ID", "IMAGE ID"),
        column("CreatedSince", "CREATED"),
        column("CreatedAt", "CREATED AT"),
        column("Size", "SIZE"),
    ],
    methods: &[],
};

pub const HISTORY: Kind = Kind {
    columns: &[
        column("ID", "IMAGE"),
        column("CreatedSince", "CREATED"),
        column("CreatedAt", "CREATED AT"),
        column("CreatedBy", "CREATED BY"),
        column("Size", "SIZE"),
        column("Comment", "COMMENT"),
    ],
    methods: &[],
};

pub const FOUND: Kind = Kind {
    columns: &[
        column("Name", "NAME"),
        column("Description", "DESCRIPTION"),
        column("StarCount", "STARS"),
        column("IsOfficial", "OFFICIAL"),
        column("IsAutomated", "AUTOMATED"),
    ],
    methods: &[],
};

/// The fields of the plain table of images.
pub fn shown(digests: bool) -> &'static [&'static str] {
    match digests {
        true => &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
        false => &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    }
}

/// An image under one of its names, or under none.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub image: &'a Image,
    pub name: Option<&'a ImageRef>,
}

/// One for each name, the newest images first; an image without a name is there once.
pub fn by_name(images: &[Image]) -> Vec<Named<'_>> {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.references.cmp(&b.references)));
    let mut all = Vec::new();
    for image in sorted {
        all.extend(image.references.iter().map(|name| Named { image, name: Some(name) }));
        if image.references.is_empty() {
            all.push(Named { image, name: None });
        }
    }
    all
}

pub fn rows(images: &[Named<'_>], now: OffsetDateTime, whole: bool) -> Vec<Row> {
    let rows = images.iter().map(|Named { image, name }| {
        let (repository, tag) = name.map_or_else(|| ("<none>".to_owned(), "<none>".to_owned()), split);
        Row::new([
            repository.into(),
            tag.into(),
            image.digest.to_string().into(),
            digest(&image.digest, whole).into(),
            ago(image.created, now).into(),
            clock(image.created).into(),
            bytes(image.size).into(),
        ])
    });
    rows.collect()
}

/// Repository and tag as people write them.
pub fn split(reference: &ImageRef) -> (String, String) {
    let text = reference.to_string();
    let name = text.split_once('@').map_or(text.as_str(), |(name, _)| name);
    match reference.tag() {
        Some(tag) => (name.strip_suffix(&format!(":{tag}")).unwrap_or(name).to_owned(), tag.to_owned()),
        None => (name.to_owned(), "<none>".into()),
    }
}

/// The steps of an image. Where they are not for people, times are times and sizes are bytes.
pub fn history(steps: &[HistoryStep], now: OffsetDateTime, human: bool, whole: bool) -> Vec<Row> {
    let rows = steps.iter().map(|step| {
        let exact = |time: OffsetDateTime| {
            let utc = time.to_offset(UtcOffset::UTC);
            utc.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
        };
        let at = step.created.map(exact).unwrap_or_default();
        let since = if human { step.created.map(|created| ago(created, now)).unwrap_or_default() } else { at.clone() };
        Row::new([
            step.image.map_or_else(|| "<missing>".to_owned(), |image| digest(&image, whole)).into(),
            since.into(),
            at.into(),
            if whole { step.created_by.clone() } else { table::shorten(&step.created_by, 45) }.into(),
            if human { bytes(step.size) } else { step.size.to_string() }.into(),
            step.comment.clone().into(),
        ])
    });
    rows.collect()
}

pub fn found(found: &[Found], whole: bool, plain: bool) -> Vec<Row> {
    // A table shows that something holds, and programs read it.
    let flag = |holds: bool| match (plain, holds) {
        (true, true) => "[OK]",
        (true, false) => "",
        (false, true) => "true",
        (false, false) => "false",
    };
    let rows = found.iter().map(|found| {
        let description = if whole { found.description.clone() } else { table::shorten(&found.description, 45) };
        Row::new([
            found.name.clone().into(),
            description.into(),
            found.stars.to_string().into(),
            flag(found.official).into(),
            // Registries do not build images any more.
            Cell::from(flag(false)),
        ])
    });
    rows.collect()
}

fn digest(digest: &Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short() }
}

/// What patterns are compared with: the name with its tag and without it, as people write it and in full.
pub fn subjects(reference: &ImageRef) -> [String; 4] {
    let (short, tag) = split(reference);
    let full = format!("{}/{}", reference.registry(), reference.repository());
    [format!("{short}:{tag}"), short, format!("{full}:{tag}"), full]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::format::Format;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn an_image_has_a_line_for_each_name() {
        let image = |references: &[&str], created| Image {
            digest: Digest::of(references.concat().as_bytes()),
            references: references.iter().map(|text| text.parse().unwrap()).collect(),
            size: 13_240_000,
            created: at(created),
            imported_from: None,
        };
        let all = [image(&["nginx:1.27", "localhost:5000/a/b:v1"], 1_000), image(&[], 2_000)];
        let rows = rows(&by_name(&all), at(90_000), false);
        insta::assert_snapshot!(IMAGES.render(&rows, &Format::Table, shown(false), false).unwrap(), @r"
        REPOSITORY           TAG      IMAGE ID       CREATED        SIZE
        <none>               <none>   e3b0c44298fc   24 hours ago   13.2MB
        nginx                1.27     28ff9f832ec6   25 hours ago   13.2MB
        localhost:5000/a/b   v1       28ff9f832ec6   25 hours ago   13.2MB
        ");
        insta::assert_snapshot!(IMAGES.render(&rows[1..2], &Format::Json, shown(false), false).unwrap(), @r#"{"Repository":"nginx","Tag":"1.27","Digest":"sha256:28ff9f832ec69e74cd9d427560905226595111a242f9a5b5f58e7f47f5ed64d8","ID":"28ff9f832ec6","CreatedSince":"25 hours ago","CreatedAt":"1970-01-01 00:16:40 +0000 UTC","Size":"13.2MB"}"#);
    }

    #[test]
    fn a_history_for_people_and_for_programs() {
        let step = HistoryStep {
            image: Some(Digest::of(b"x")),
            created: Some(at(10)),
            created_by: "/bin/sh -c make something of a length that is not shown".into(),
            comment: "why".into(),
            author: String::new(),
            size: 1_500,
            layer: None,
            references: vec![],
        };
        let render = |human| {
            let shown = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
            HISTORY.render(&history(std::slice::from_ref(&step), at(100), human, false), &Format::Table, &shown, false).unwrap()
        };
        insta::assert_snapshot!(render(true), @r"
        IMAGE          CREATED              CREATED BY                                      SIZE    COMMENT
        2d711642b726   about a minute ago   /bin/sh -c make something of a length that i…   1.5kB   why
        ");
        insta::assert_snapshot!(render(false), @r"
        IMAGE          CREATED                CREATED BY                                      SIZE   COMMENT
        2d711642b726   1970-01-01T00:00:10Z   /bin/sh -c make something of a length that i…   1500   why
        ");
    }
}
