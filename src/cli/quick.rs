//! The grammar of one verb. The whole one takes two milliseconds to put together, which is a quarter of an `exec`; most command
//! lines begin with a verb of this list and are sound. Whatever this grammar does not take, help among it, is left to the whole one.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command};

use super::args::{self, Global};

type Augment = fn(Command) -> Command;

/// The verbs that are typed by scripts in loops, with their arguments.
const VERBS: [(&str, Augment); 19] = [
    ("apply", args::ApplyArgs::augment_args),
    ("build", <Box<args::BuildArgs> as Args>::augment_args),
    ("cp", args::CpArgs::augment_args),
    ("create", <Box<args::CreateArgs> as Args>::augment_args),
    ("exec", args::ExecArgs::augment_args),
    ("images", args::ImagesArgs::augment_args),
    ("inspect", args::InspectArgs::augment_args),
    ("kill", args::KillArgs::augment_args),
    ("logs", args::LogsArgs::augment_args),
    ("plan", args::PlanArgs::augment_args),
    ("ps", args::PsArgs::augment_args),
    ("pull", args::PullArgs::augment_args),
    ("push", args::PushArgs::augment_args),
    ("rm", args::RmArgs::augment_args),
    ("run", <Box<args::RunArgs> as Args>::augment_args),
    ("start", args::StartArgs::augment_args),
    ("status", args::StatusArgs::augment_args),
    ("stop", args::StopArgs::augment_args),
    ("wait", args::WaitArgs::augment_args),
];

/// What a command line says, where it is one of these verbs and sound.
pub(super) fn matches(args: &[OsString]) -> Option<ArgMatches> {
    let verb = args.get(1)?.to_str()?;
    let (name, augment) = VERBS.iter().find(|(name, _)| *name == verb)?;
    let grammar = Global::augment_args(Command::new("setpoint")).subcommand(augment(Command::new(*name)));
    grammar.try_get_matches_from(args).ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn says_what_the_whole_grammar_says() {
        for line in [
            "exec -it -e A=1 web sh -c ls",
            "exec web ls --state-dir x",
            "run --rm -p 80:80 --name web --network none image:1 sh -c true",
            "run --state-dir /s -d image",
            "ps -aq --filter name=x --run-dir /r",
            "logs -f --tail 10 web",
            "apply --state-dir /s .",
            "build -t x:1 --push=false .",
            "plan x",
            "rm -f a b",
            "stop -t 3 a",
            "wait a",
            "images -q",
            "create --name x image",
            "kill -s HUP x",
            "cp a:/x y",
            "start -a x",
            "status",
            "pull x:1",
            "push x:1",
            "inspect x",
        ] {
            let words: Vec<OsString> = std::iter::once("setpoint").chain(line.split(' ')).map(OsString::from).collect();
            let quick = Cli::from_arg_matches(&matches(&words).expect(line)).unwrap();
            let whole = Cli::from_arg_matches(&Cli::command().try_get_matches_from(&words).unwrap()).unwrap();
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line}");
        }
        for verb in VERBS {
            let known = Cli::command().get_subcommands().any(|command| command.get_name() == verb.0);
            assert!(known, "{}", verb.0);
        }
    }

    #[test]
    fn leaves_the_rest_to_it() {
        for line in ["ps --help", "exec", "exek web", "--state-dir /s ps", "logs --no-such x", "run -h"] {
            let words: Vec<OsString> = std::iter::once("setpoint").chain(line.split(' ')).map(OsString::from).collect();
            assert!(matches(&words).is_none(), "{line}");
        }
    }
}
