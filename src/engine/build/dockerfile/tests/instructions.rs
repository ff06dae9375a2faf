//! Each instruction, its forms and its flags.

use super::*;
use crate::model::Span;

fn exec(words: &[&str]) -> CommandLine {
    CommandLine::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

fn shell(text: &str) -> CommandLine {
    CommandLine::Shell(text.to_owned())
}

#[test]
fn exec_and_shell_forms() {
    for (text, expected) in [
        (r#"CMD ["a", "b c"]"#, exec(&["a", "b c"])),
        (r#"CMD  [ "a" ]  "#, exec(&["a"])),
        (r#"CMD ["\u00e9\n\"", "\\"]"#, exec(&["é\n\"", "\\"])),
        ("CMD []", exec(&[])),
        (r#"CMD "[ "a" ]""#, shell(r#""[ "a" ]""#)),
        ("CMD ['a']", shell("['a']")),
        (r#"CMD ["a""#, shell(r#"["a""#)),
        (r#"CMD ["a",]"#, shell(r#"["a",]"#)),
        (r#"CMD ["a"] b"#, shell(r#"["a"] b"#)),
        ("CMD a   'b c' $d", shell("a   'b c' $d")),
        ("CMD [ -f x ] && y", shell("[ -f x ] && y")),
    ] {
        assert_eq!(command(text), Command::Cmd(expected.clone()), "{text}");
        assert_eq!(command(&text.replacen("CMD", "entrypoint", 1)), Command::Entrypoint(expected), "{text}");
    }
    assert_eq!(command(r#"SHELL ["/bin/bash", "-c"]"#), Command::Shell(vec!["/bin/bash".into(), "-c".into()]));
}

#[test]
fn pairs_and_their_legacy_form() {
    for (text, expected) in [
        ("a=b", &[("a", "b")][..]),
        ("a=b c= d=\"e f\" g='h i' j=k\\ l", &[("a", "b"), ("c", ""), ("d", "\"e f\""), ("g", "'h i'"), ("j", "k\\ l")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a b", &[("a", "b")]),
        ("a   b  c=d ", &[("a", "b  c=d")]),
        ("a \"b c\"", &[("a", "\"b c\"")]),
        ("\"a b\"=c", &[("\"a b\"", "c")]),
        ("a=\"b\\\" c\" d=e", &[("a", "\"b\\\" c\""), ("d", "e")]),
        ("a='b\\' c=d", &[("a", "'b\\'"), ("c", "d")]),
    ] {
        for keyword in ["ENV", "LABEL"] {
            let (Command::Env(pairs) | Command::Label(pairs)) = command(&format!("{keyword} {text}")) else { panic!() };
            let found: Vec<_> = pairs.iter().map(|pair| (pair.name.text.as_str(), pair.value.text.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
    let Command::Arg(arguments) = command("ARG a b=c d= e=\"f g\"") else { panic!() };
    let found: Vec<_> =
        arguments.iter().map(|arg| (arg.name.text.as_str(), arg.default.as_ref().map(|word| word.text.as_str()))).collect();
    assert_eq!(found, [("a", None), ("b", Some("c")), ("d", Some("")), ("e", Some("\"f g\""))]);
}

#[test]
fn stages_begin() {
    let from = |text: &str| match instructions(text).swap_remove(0).command {
        Command::From(from) => (from.base.text, from.platform.map(|word| word.text), from.name),
        other => panic!("{other:?}"),
    };
    assert_eq!(from("FROM a:1"), ("a:1".into(), None, None));
    assert_eq!(from("from a as Builder-1.x_y"), ("a".into(), None, Some("builder-1.x_y".into())));
    assert_eq!(from("FROM --platform=$BUILDPLATFORM a AS b"), ("a".into(), Some("$BUILDPLATFORM".into()), Some("b".into())));
    assert_eq!(instructions("ARG v=1\nFROM a:$v\n").len(), 2);
}

#[test]
fn files_are_copied() {
    let Command::Copy(copy) =
        command("COPY --from=b --chown=\"u:g\" --chmod=0755 --link --parents=TRUE --exclude=*.md --exclude=x \\\n a* b /c/")
    else {
        panic!()
    };
    let files = &copy.files;
    assert_eq!(texts(&files.sources), ["a*", "b"]);
    assert_eq!(files.destination.text, "/c/");
    assert_eq!(files.chown.as_ref().map(|word| word.text.as_str()), Some("u:g"));
    assert_eq!(files.chmod.as_ref().map(|word| word.text.as_str()), Some("0755"));
    assert_eq!((files.link, copy.parents, files.exclude.as_slice()), (true, true, &["*.md".to_owned(), "x".to_owned()][..]));
    assert_eq!(copy.from.map(|word| word.text).as_deref(), Some("b"));
    let Command::Copy(copy) = command(r#"COPY --link=false ["a b", "c d"]"#) else { panic!() };
    assert_eq!((texts(&copy.files.sources), copy.files.destination.text.as_str(), copy.files.link), (vec!["a b"], "c d", false));
    let Command::Add(add) = command("ADD --checksum=sha256:00 --keep-git-dir --unpack=false https://x/y.git#v1:z /d") else {
        panic!()
    };
    assert_eq!(add.checksum.map(|word| word.text).as_deref(), Some("sha256:00"));
    assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
    let Command::Add(add) = command("ADD -- --a /d") else { panic!() };
    assert_eq!((texts(&add.files.sources), add.unpack), (vec!["--a"], None));
}

#[test]
fn commands_are_run() {
    let Command::Run(run) = command("RUN --network=none --security=insecure --device=vendor.com/gpu=all,required a --b") else {
        panic!()
    };
    assert_eq!(run.command, shell("a --b"));
    assert_eq!((run.network, run.security), (Network::None, SandboxMode::Insecure));
    assert_eq!(run.devices, [Device { name: "vendor.com/gpu=all".into(), required: true }]);
    let Command::Run(run) = command("RUN [\"a\"]") else { panic!() };
    assert_eq!((run.network, run.security), (Network::Default, SandboxMode::Sandbox));
}

#[test]
fn health_is_checked() {
    assert_eq!(command("HEALTHCHECK none"), Command::Healthcheck(HealthcheckInstruction::None));
    let seconds = |n| Some(Span::seconds(n));
    let text = "HEALTHCHECK --interval=1m --timeout=3s --start-period=2s --start-interval=1s --retries=5 cmd a b";
    let expected = HealthcheckInstruction::Command {
        command: shell("a b"),
        interval: seconds(60),
        timeout: seconds(3),
        start_period: seconds(2),
        start_interval: seconds(1),
        retries: Some(5),
    };
    assert_eq!(command(text), Command::Healthcheck(expected));
    let expected = HealthcheckInstruction::Command {
        command: exec(&["a"]),
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    };
    assert_eq!(command("HEALTHCHECK --interval=0s --retries=0 \\\n CMD [\"a\"]"), Command::Healthcheck(expected));
}

#[test]
fn the_others() {
    let Command::Expose(ports) = command("EXPOSE 80  443/tcp $p") else { panic!() };
    assert_eq!(texts(&ports), ["80", "443/tcp", "$p"]);
    let Command::Volume(paths) = command("VOLUME /a /b") else { panic!() };
    assert_eq!(texts(&paths), ["/a", "/b"]);
    let Command::Volume(paths) = command(r#"VOLUME ["/a b", " /c "]"#) else { panic!() };
    assert_eq!(texts(&paths), ["/a b", "/c"]);
    let Command::Workdir(path) = command("WORKDIR /a b") else { panic!() };
    assert_eq!(path.text, "/a b");
    let Command::User(user) = command("uSeR $u:g") else { panic!() };
    assert_eq!(user.text, "$u:g");
    assert!(matches!(command("STOPSIGNAL SIGTERM"), Command::Stopsignal(_)));
    assert!(matches!(command("STOPSIGNAL $s"), Command::Stopsignal(_)));
    assert_eq!(command("MAINTAINER A B <a@b>"), Command::Maintainer("A B <a@b>".into()));
}

#[test]
fn triggers() {
    let Command::Onbuild(onbuild) = command("OnBuild  copy --link a \\\n  b") else { panic!() };
    assert_eq!(onbuild.text, "copy --link a   b");
    assert!(matches!(*onbuild.command, Command::Copy(_)));
    let trigger = |text: &str| parse_trigger(text).map_err(|mut errors| errors.faults.remove(0).cause);
    assert_eq!(trigger("RUN a\n").unwrap().command.keyword(), "RUN");
    // A trigger has no directives.
    assert_eq!(trigger("# escape=`\nRUN a \\\n b").unwrap().text, "RUN a  b");
    assert_eq!(trigger("RUN a\nRUN b").unwrap_err(), Cause::SecondTrigger);
    assert_eq!(trigger("FROM a").unwrap_err(), Cause::Trigger { keyword: "FROM" });
    assert_eq!(trigger("ONBUILD RUN a").unwrap_err(), Cause::Trigger { keyword: "ONBUILD" });
    assert_eq!(trigger("").unwrap_err(), Cause::Empty);
}
