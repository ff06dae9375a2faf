//! The options of `RUN --mount`.

use super::*;
use crate::engine::build::dockerfile::mounts::fields;
use crate::model::ByteSize;

fn options(text: &str) -> MountOptions {
    let Command::Run(run) = command(&format!("RUN --mount={text} x")) else { panic!() };
    run.mounts.into_iter().next().unwrap()
}

fn mount(text: &str) -> RunMount {
    options(text).resolve(&mut |value| Ok(value.to_owned())).unwrap()
}

#[test]
fn every_type() {
    let bind = |source: &str, target: &str, writable| RunMount::Bind { source: source.into(), target: target.into(), writable };
    assert_eq!(mount("target=/a"), bind("", "/a", false));
    assert_eq!(mount("type=bind,from=b,src=c,dst=d,rw"), bind("c", "d", true));
    assert_eq!(mount("type=BIND,source=c,destination=/d,ro=false"), bind("c", "/d", true));
    assert_eq!(mount("type=bind,Target=/d,readwrite=0"), bind("", "/d", false));
    let cache = RunMount::Cache {
        id: Some("go".into()),
        source: "s".into(),
        target: "/c".into(),
        read_only: true,
        sharing: Sharing::Locked,
        mode: Some(0o1777),
        uid: Some(1),
        gid: Some(2),
    };
    assert_eq!(mount("type=cache,id=go,from=b,source=s,target=/c,readonly,sharing=locked,mode=1777,uid=1,gid=2"), cache);
    let RunMount::Cache { id: None, read_only: false, sharing: Sharing::Shared, mode: None, .. } = mount("type=cache,target=/c")
    else {
        panic!()
    };
    let tmpfs = RunMount::Tmpfs { target: "/t".into(), size: Some(ByteSize(64 << 20)), read_only: false };
    assert_eq!(mount("type=tmpfs,target=/t,size=64m"), tmpfs);
    let secret = |id: &str, target: Option<&str>, env: Option<&str>, required, mode, uid| RunMount::Secret {
        id: id.into(),
        target: target.map(Into::into),
        env: env.map(Into::into),
        required,
        mode,
        uid,
        gid: 0,
    };
    assert_eq!(mount("type=secret,id=a"), secret("a", Some("/run/secrets/a"), None, false, 0o400, 0));
    assert_eq!(mount("type=secret,target=/b/c,required,mode=0444,uid=5"), secret("c", Some("/b/c"), None, true, 0o444, 5));
    assert_eq!(mount("type=secret,src=a/b,env=TOKEN"), secret("a/b", None, Some("TOKEN"), false, 0o400, 0));
    let ssh = |id: &str, target: Option<&str>, required| RunMount::Ssh {
        id: id.into(),
        target: target.map(Into::into),
        required,
        mode: 0o600,
        uid: 0,
        gid: 0,
    };
    assert_eq!(mount("type=ssh"), ssh("default", None, false));
    assert_eq!(mount("type=ssh,id=k,target=/s,required=true"), ssh("k", Some("/s"), true));
}

#[test]
fn values_may_have_quotes_and_variables() {
    assert_eq!(fields(r#"a=b,"c=d,e","f""g""#).unwrap(), ["a=b", "c=d,e", "f\"g"]);
    assert!(fields("\"a").is_err() && fields("\"a\"b").is_err());
    let found = options("type=$t,target=/a/$v,id=x");
    let resolved = found.resolve(&mut |value| Ok(value.replace("$t", "cache").replace("$v", "1"))).unwrap();
    assert!(matches!(resolved, RunMount::Cache { target, .. } if target == "/a/1"));
    let error = found.resolve(&mut |value| Ok(value.replace("$t", "bind"))).unwrap_err();
    assert_eq!(error, MountError::NotOfType { kind: "bind", key: "id" });
    assert_eq!(options("from=b,target=/a").from.unwrap().text, "b");
}

#[test]
fn what_is_refused() {
    let error = |text: &str| match fault(&format!("RUN --mount={text} x")).0 {
        Cause::Mount(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for (text, expected) in [
        ("type=bnd", "there is no type \"bnd\" of mounts"),
        ("target", "the option `target` needs a value"),
        ("target=/a,dst=/b", "the option `target` is given twice"),
        ("taget=/a", "there is no option `taget`"),
        ("target=/a,size=1m", "a mount of type `bind` has no option `size`"),
        ("type=tmpfs,target=/a,size=x", "\"x\" is not a value of `size`: expected a number of bytes, such as 512m"),
        ("type=cache,target=/a,mode=999", "\"999\" is not a value of `mode`: expected an octal number, such as 0755"),
        ("type=cache,target=/a,uid=-1", "\"-1\" is not a value of `uid`: expected a number"),
        ("type=cache,target=/a,sharing=x", "\"x\" is not a value of `sharing`: expected shared, private or locked"),
        ("target=/a,ro=maybe", "\"maybe\" is not a value of `ro`: expected `true` or `false`"),
        ("from=$a,target=/a", "`from` cannot have variables"),
        ("type=secret", "a secret needs an `id`, or a `target` that it is called after"),
        ("type=secret,id=a,source=b", "a secret has an `id` or a `source`, not both"),
        ("type=secret,id=a,from=b", "a mount of type `secret` has no option `from`"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}
