//! The image store as people see it: what is damaged, and what everything takes.

use time::OffsetDateTime;

use super::table::{self, Cell, bytes};
use crate::cli::format::{Kind, Row, column};
use crate::cli::output::Tone;
use crate::cli::time::ago;
use crate::engine::DiskUsage;
use crate::engine::images::{CheckReport, Part, Repair};

pub fn check(report: &CheckReport, colour: bool) -> String {
    let mut text = String::new();
    if !report.problems.is_empty() {
        let rows: Vec<[Cell; 5]> = report
            .problems
            .iter()
            .map(|problem| {
                let part = match problem.part {
                    Part::Manifest => "manifest",
                    Part::Config => "config",
                    Part::Layer => "layer",
                    Part::Skeleton => "skeleton",
                    Part::Completion => "completion",
                    Part::Blob => "blob",
                };
                let repair = match &problem.repair {
                    Repair::None => Cell::toned("damaged", Tone::Bad),
                    Repair::Done => Cell::toned("repaired", Tone::Good),
                    Repair::Failed { why } => Cell::toned(format!("not repaired: {why}"), Tone::Bad),
                };
                let images = problem.images.iter().cloned().collect::<Vec<_>>().join(", ");
                [part.into(), problem.digest.short().into(), images.into(), repair, problem.what.clone().into()]
            })
            .collect();
        text = table::render(["PART", "DIGEST", "IMAGES", "STATE", "WHAT"], &rows, colour);
    }
    let CheckReport { images, layers, blobs, problems } = report;
    text.push_str(&format!("checked {images} images, {layers} layers, {blobs} kept blobs: {} damaged\n", problems.len()));
    text
}

pub const USAGE: Kind = Kind {
    columns: &[
        column("Type", "TYPE"),
        column("TotalCount", "TOTAL"),
        column("Active", "ACTIVE"),
        column("Size", "SIZE"),
        column("Reclaimable", "RECLAIMABLE"),
    ],
    methods: &[],
};

pub fn usage(usage: &DiskUsage) -> [Row; 3] {
    let row = |kind: &str, count: usize, active: usize, size: u64, reclaimable: u64| {
        let percent = (reclaimable * 100).checked_div(size).unwrap_or(0);
        let reclaimable = format!("{} ({percent}%)", bytes(reclaimable));
        Row::new([kind.into(), count.to_string().into(), active.to_string().into(), bytes(size).into(), Cell::from(reclaimable)])
    };
    let DiskUsage { images, containers, volumes } = usage;
    let idle = containers.iter().filter(|container| !container.running).map(|container| container.size).sum();
    let unused = volumes.iter().filter(|volume| volume.containers == 0).map(|volume| volume.size).sum();
    [
        row(
            "Images",
            images.images.len(),
            images.images.iter().filter(|image| image.active).count(),
            images.size,
            images.reclaimable,
        ),
        row(
            "Containers",
            containers.len(),
            containers.iter().filter(|container| container.running).count(),
            containers.iter().map(|container| container.size).sum(),
            idle,
        ),
        row(
            "Local Volumes",
            volumes.len(),
            volumes.iter().filter(|volume| volume.containers > 0).count(),
            volumes.iter().map(|volume| volume.size).sum(),
            unused,
        ),
    ]
}

pub fn usage_in_full(usage: &DiskUsage, now: OffsetDateTime, colour: bool) -> String {
    let images: Vec<[Cell; 6]> = usage
        .images
        .images
        .iter()
        .map(|image| {
            let names = image.references.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            [
                if names.is_empty() { "<none>".into() } else { names.into() },
                image.digest.short().into(),
                ago(image.created, now).into(),
                bytes(image.size).into(),
                bytes(image.shared).into(),
                bytes(image.size - image.shared.min(image.size)).into(),
            ]
        })
        .collect();
    let containers: Vec<[Cell; 5]> = usage
        .containers
        .iter()
        .map(|container| {
            [
                container.id.short().to_owned().into(),
                container.image_digest.short().into(),
                if container.running { "running".into() } else { "stopped".into() },
                bytes(container.size).into(),
                container.name.to_string().into(),
            ]
        })
        .collect();
    let volumes: Vec<[Cell; 3]> = usage
        .volumes
        .iter()
        .map(|volume| [volume.name.to_string().into(), volume.containers.to_string().into(), bytes(volume.size).into()])
        .collect();
    format!(
        "Images:\n{}\nContainers:\n{}\nLocal volumes:\n{}",
        table::render(["IMAGE", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE"], &images, colour),
        table::render(["CONTAINER ID", "IMAGE ID", "STATE", "SIZE", "NAME"], &containers, colour),
        table::render(["VOLUME NAME", "CONTAINERS", "SIZE"], &volumes, colour),
    )
}
