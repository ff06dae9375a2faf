//! The image store as people see it: histories, what is damaged, and what everything takes.

use time::OffsetDateTime;

use super::table::{self, Cell, bytes, shorten};
use crate::cli::output::Tone;
use crate::cli::time::ago;
use crate::engine::DiskUsage;
use crate::engine::images::{CheckReport, HistoryStep, Part, Repair};
use crate::model::Digest;

pub fn history(steps: &[HistoryStep], now: OffsetDateTime, whole: bool, colour: bool) -> String {
    let rows: Vec<[Cell; 5]> = steps
        .iter()
        .map(|step| {
            let image = step.image.map(|image| shown(&image, whole)).unwrap_or_else(|| "<missing>".to_owned());
            let by = if whole { step.created_by.clone() } else { shorten(&step.created_by, 45) };
            [
                image.into(),
                step.created.map(|created| ago(created, now)).unwrap_or_default().into(),
                by.into(),
                bytes(step.size).into(),
                step.comment.clone().into(),
            ]
        })
        .collect();
    table::render(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows, colour)
}

fn shown(digest: &Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short() }
}

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

pub fn usage(usage: &DiskUsage, colour: bool) -> String {
    let row = |kind: &str, count: usize, active: usize, size: u64, reclaimable: u64| -> [Cell; 5] {
        let percent = (reclaimable * 100).checked_div(size).unwrap_or(0);
        let reclaimable = format!("{} ({percent}%)", bytes(reclaimable));
        [kind.into(), count.to_string().into(), active.to_string().into(), bytes(size).into(), reclaimable.into()]
    };
    let DiskUsage { images, containers, volumes } = usage;
    let idle = containers.iter().filter(|container| !container.running).map(|container| container.size).sum();
    let unused = volumes.iter().filter(|volume| volume.containers == 0).map(|volume| volume.size).sum();
    let rows = [
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
    ];
    table::render(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows, colour)
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
