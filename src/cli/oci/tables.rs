//! Lists for people: containers, and the processes of one as ps(1) shows them.

use std::process::Command;

use super::OciCliError;
use crate::engine::runtime::oci::State;

pub(super) fn containers(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED"].map(str::to_owned);
    let rows = states.iter().map(|state| {
        [
            state.id.clone(),
            state.pid.unwrap_or(0).to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> = (0..5).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("   ").trim_end())
        })
        .collect()
}

/// The lines of the host's ps(1) that are about these processes.
pub(super) fn processes(pids: &[i32], options: &[String]) -> Result<String, OciCliError> {
    let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options.to_vec() };
    let ran = Command::new("ps").args(&options).output().map_err(OciCliError::step("run ps; use --format json without it"))?;
    if !ran.status.success() {
        let reason = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        return Err(OciCliError::Argument { what: "ps", reason });
    }
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_ascii_whitespace()
        .position(|word| word == "PID")
        .ok_or_else(|| OciCliError::Argument { what: "ps", reason: format!("with {} it shows no PID", options.join(" ")) })?;
    let ours = lines.filter(|line| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    });
    Ok(std::iter::once(head).chain(ours).map(|line| format!("{line}\n")).collect())
}
