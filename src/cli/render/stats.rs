//! What containers use, in Docker's columns.

use super::table::bytes;
use crate::cli::format::{Kind, Row, column};
use crate::wire::verbs::Sample;

pub const KIND: Kind = Kind {
    columns: &[
        column("Container", "CONTAINER"),
        column("ID", "CONTAINER ID"),
        column("Name", "NAME"),
        column("CPUPerc", "CPU %"),
        column("MemUsage", "MEM USAGE / LIMIT"),
        column("MemPerc", "MEM %"),
        column("NetIO", "NET I/O"),
        column("BlockIO", "BLOCK I/O"),
        column("PIDs", "PIDS"),
    ],
    methods: &[],
};

/// The fields of a plain table.
pub const SHOWN: &[&str] = &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

/// One container's row. Its share of the processors is that since the earlier sample.
pub fn row(now: &Sample, earlier: Option<&Sample>, whole: bool) -> Row {
    let id = if whole { now.id.as_str() } else { now.id.short() };
    let percent = |part: f64, of: f64| if of > 0.0 { format!("{:.2}%", 100.0 * part / of) } else { "0.00%".to_owned() };
    let (busy, passed) = earlier.map_or((0.0, 0.0), |earlier| {
        let busy = now.cpu_usec.saturating_sub(earlier.cpu_usec) as f64;
        (busy, (now.at - earlier.at).as_seconds_f64() * 1e6)
    });
    Row::new([
        id.into(),
        id.into(),
        now.name.to_string().into(),
        percent(busy, passed).into(),
        format!("{} / {}", binary(now.memory), binary(now.memory_limit)).into(),
        percent(now.memory as f64, now.memory_limit as f64).into(),
        format!("{} / {}", bytes(now.network_received), bytes(now.network_sent)).into(),
        format!("{} / {}", bytes(now.block_read), bytes(now.block_written)).into(),
        now.pids.to_string().into(),
    ])
}

/// Memory in binary units, four digits, as Docker shows it: `1.952GiB`.
fn binary(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1023.5 {
            let digits = if unit == "B" || value >= 1000.0 {
                0
            } else if value >= 100.0 {
                1
            } else if value >= 10.0 {
                2
            } else {
                3
            };
            let text = format!("{value:.digits$}");
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            return format!("{text}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.3}TiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::format::Format;
    use crate::model::ContainerId;
    use time::OffsetDateTime;

    #[test]
    fn as_docker_shows_it() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let earlier = Sample {
            id: ContainerId::from_random([1; 32]),
            name: "web".parse().unwrap(),
            running: true,
            at: at(100),
            cpu_usec: 1_000_000,
            memory: 0,
            memory_limit: 1,
            network_received: 0,
            network_sent: 0,
            block_read: 0,
            block_written: 0,
            pids: 1,
        };
        let now = Sample {
            at: at(102),
            cpu_usec: 4_000_000,
            memory: 3 << 20,
            memory_limit: 2_096_000_000,
            network_received: 1_300,
            network_sent: 42,
            block_written: 8_000_000,
            pids: 3,
            ..earlier.clone()
        };
        let text = KIND.render(&[row(&now, Some(&earlier), false)], &Format::Table, SHOWN, false).unwrap();
        insta::assert_snapshot!(text, @r"
        CONTAINER ID   NAME   CPU %     MEM USAGE / LIMIT   MEM %   NET I/O       BLOCK I/O    PIDS
        010101010101   web    150.00%   3MiB / 1.952GiB     0.15%   1.3kB / 42B   0B / 8.0MB   3
        ");
        assert_eq!(["512B", "1.5KiB", "12.25MiB", "1.000TiB"].map(str::to_owned), [512, 1536, 12_845_056, 1 << 40].map(binary));
    }
}
