//! Tables of Dockerfiles and what they are read as.

mod errors;
mod heredocs;
mod instructions;
mod lines;
mod moby;
mod mounts;
mod suite;

use std::path::Path;

use super::*;

fn read_file(text: &str) -> Result<Dockerfile, DockerfileErrors> {
    parse(Path::new("Dockerfile"), text.as_bytes())
}

#[track_caller]
fn instructions(text: &str) -> Vec<Instruction> {
    read_file(text).unwrap_or_else(|errors| panic!("{text}\n{errors}")).instructions
}

/// The command of a single instruction that stands below a FROM.
#[track_caller]
fn command(text: &str) -> Command {
    instructions(&format!("FROM scratch\n{text}")).swap_remove(1).command
}

/// What is wrong with a single instruction that stands below a FROM, and its column.
#[track_caller]
fn fault(text: &str) -> (Cause, usize) {
    let mut errors = read_file(&format!("FROM scratch\n{text}")).map(|found| panic!("{text}: {found:#?}")).unwrap_err();
    assert_eq!(errors.faults.len(), 1, "{errors}");
    let fault = errors.faults.remove(0);
    (fault.cause, fault.problem.column)
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(600))]

    /// Lines made of what means something, in any order.
    #[test]
    fn no_file_panics(lines in proptest::collection::vec(
        "(FROM|RUN|COPY|add|ENV|LABEL|ARG|ONBUILD|HEALTHCHECK|CMD|SHELL|VOLUME|EXPOSE|STOPSIGNAL|USER|# escape=|#)? ?\
         (--(from|mount|link|chown|exclude|interval|platform|network)(=[a-z=,\"]{0,12})?)? ?\
         (\\[\"a\",|<<-?'?E'?|a=b|a b|[$\"'`\\\\ö\u{b}\u{a0}]|CMD|COPY|E){0,4}(\r?\n|\\\\\n|`\n|\n)?", 0..12
    )) {
        let text = lines.concat();
        if let Ok(file) = parse(Path::new("Dockerfile"), text.as_bytes()) {
            for instruction in &file.instructions {
                proptest::prop_assert!(instruction.place.line >= 1 && instruction.place.line <= instruction.last_line);
                if let Command::Run(run) = &instruction.command {
                    run.script();
                }
                // What an image records is read with the usual escape character.
                if let Command::Onbuild(onbuild) = &instruction.command && file.directives.escape == '\\' {
                    proptest::prop_assert!(parse_trigger(&onbuild.text).is_ok(), "{}", onbuild.text);
                }
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Err(errors) = parse(Path::new("Dockerfile"), &bytes) {
            proptest::prop_assert!(!errors.to_string().is_empty());
        }
    }
}

#[test]
fn hostile_files_are_read_in_no_time() {
    let long = "x".repeat(4 << 20);
    assert!(read_file(&format!("FROM scratch\nRUN {long}\n")).is_ok());
    assert!(read_file(&format!("FROM scratch\nENV {}\n", "a=b ".repeat(200_000))).is_ok());
    assert!(read_file(&format!("FROM scratch\nRUN {}x\n", "a \\\n".repeat(300_000))).is_ok());
    assert!(read_file(&format!("FROM scratch\n{}", "RUN <<E\nE\n".repeat(50_000))).is_ok());
    assert!(read_file(&format!("FROM scratch\nRUN {}\n", "[".repeat(1 << 20))).is_ok());
    assert!(read_file(&format!("FROM scratch\n{}RUN x\n", "ONBUILD ".repeat(200_000))).is_err());
    assert!(read_file(&format!("FROM scratch\nRUN {}\n", "<<A ".repeat(20_000))).is_err());
    assert!(read_file(&"x\n".repeat(100_000)).is_err());
}
