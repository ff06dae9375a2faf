//! Tables of what words become.

use super::*;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "dir" => "/srv/app",
        "empty" => "",
        "spaced" => " one  two ",
        "path" => "/a/b/b.tar.gz",
        "stars" => "a*b*c",
        "lines" => "x\ny",
        "größe" => "xl",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> Result<String, ExpandError> {
    Expander::new('\\', &variables).word(text).map(|expanded| expanded.value)
}

#[test]
fn words_become() {
    for (text, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("$dir/x", "/srv/app/x"),
        ("${dir}x", "/srv/appx"),
        ("$dirx", ""),
        ("a$", "a$"),
        ("a$.b", "a$.b"),
        ("$größe", "xl"),
        ("$1a$12b", "ab"),
        ("$$dir", "dir"),
        (r"\$dir", "$dir"),
        (r"\\$dir", r"\/srv/app"),
        (r"a\", "a"),
        (r#"'$dir' "$dir" $dir"#, "$dir /srv/app /srv/app"),
        (r#""\$dir \a \\ \"""#, r#"$dir \a \ ""#),
        (r"'\'", r"\"),
        ("${none:-d}${empty:-d}${dir:-d}", "dd/srv/app"),
        ("${none-d}${empty-d}${dir-d}", "d/srv/app"),
        ("${none:+d}${empty:+d}${dir:+d}", "d"),
        ("${none+d}${empty+d}${dir+d}", "dd"),
        ("${dir?why}${empty?why}", "/srv/app"),
        ("${none:-${empty:-$dir}}", "/srv/app"),
        (r#"${none:-"a } b"}"#, "a } b"),
        (r"${none:-\}}", "}"),
        ("${path#*/}", "a/b/b.tar.gz"),
        ("${path##*/}", "b.tar.gz"),
        ("${path%.*}", "/a/b/b.tar"),
        ("${path%%.*}", "/a/b/b"),
        ("${path%/?.*}", "/a/b"),
        ("${path#nothing}", "/a/b/b.tar.gz"),
        ("${path%}${empty#x}${none#x}", "/a/b/b.tar.gz"),
        ("${path/b/c}", "/a/c/b.tar.gz"),
        ("${path//b/c}", "/a/c/c.tar.gz"),
        (r"${path//\//:}", ":a:b:b.tar.gz"),
        ("${path/$dir/x}", "/a/b/b.tar.gz"),
        ("${path//[ab]/x}", "/a/b/b.tar.gz"),
        (r"${stars/\*/-}", "a-b*c"),
        ("${stars//b*/$1}", "a*"),
        ("${lines#*y}", ""),
    ] {
        assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for (text, expected) in [
        ("'a", ExpandError::SingleQuote),
        ("\"a", ExpandError::DoubleQuote),
        ("\"a\\\"", ExpandError::DoubleQuote),
        ("${", ExpandError::Unclosed),
        ("${dir", ExpandError::Unclosed),
        ("${dir:", ExpandError::Unclosed),
        ("${none:-a", ExpandError::Unclosed),
        ("${}", ExpandError::Name("}".into())),
        ("${:-a}", ExpandError::Name(":".into())),
        ("${.}", ExpandError::Name(".".into())),
        ("${dir=a}", ExpandError::Modifier("=".into())),
        ("${dir:=a}", ExpandError::Modifier(":=".into())),
        ("${dir:#a}", ExpandError::Modifier(":#".into())),
        ("${dir/a}", ExpandError::NoReplacement { name: "dir".into() }),
        ("${none?}", ExpandError::Required { name: "none".into(), message: "it is not set".into() }),
        ("${empty:?}", ExpandError::Required { name: "empty".into(), message: "it is empty".into() }),
        ("${none:?say $dir}", ExpandError::Required { name: "none".into(), message: "say /srv/app".into() }),
        (r"${dir#\a}", PatternError::Escape { pattern: r"\a".into(), before: Some('a') }.into()),
    ] {
        assert_eq!(word(text), Err(expected), "{text}");
    }
    assert_eq!(word(&"${a:-".repeat(100_000)), Err(ExpandError::TooDeep));
}

#[test]
fn growth_has_a_limit() {
    let long = "x".repeat(1 << 19);
    let variables = |_: &str| Some(long.clone());
    let expander = Expander::new('\\', &variables);
    assert_eq!(expander.word("$a").unwrap().value.len(), 1 << 19);
    for text in ["$a$a$a$a", "\"$a$a$a$a\"", "${a//x/$a}", "${none:+$a$a$a}"] {
        assert_eq!(expander.word(text), Err(ExpandError::TooLong), "{text}");
    }
}

#[test]
fn names_without_a_value_are_told() {
    let unset = |text| Expander::new('\\', &variables).word(text).unwrap().unset.into_iter().collect::<Vec<_>>();
    assert_eq!(unset("$dir $none ${other} ${third#x} '$quoted' ${fourth:-x} ${fifth:+x}"), ["none", "other", "third"]);
}

#[test]
fn blanks_of_values_split_and_quoted_ones_do_not() {
    for (text, expected) in [
        ("", &[][..]),
        ("a  b", &["a", "b"]),
        (r"a\ b", &["a b"]),
        ("$spaced", &["one", "two"]),
        ("x${spaced}y", &["x", "one", "two", "y"]),
        ("\"$spaced\"", &[" one  two "]),
        ("'a b'c d", &["a bc", "d"]),
        ("''", &[]),
        ("${none:-p q}", &["p", "q"]),
        ("a${none:-b}c", &["abc"]),
    ] {
        assert_eq!(Expander::new('\\', &variables).words(text).unwrap().value, expected, "{text}");
    }
}

#[test]
fn the_other_escape_character() {
    let expander = Expander::new('`', &variables);
    assert_eq!(expander.word(r"C:\dir`$x").unwrap().value, r"C:\dir$x");
    assert_eq!(expander.word("\"``\"").unwrap().value, "`");
}

#[test]
fn documents_have_no_quotes() {
    let expander = Expander::of_documents(&variables);
    assert_eq!(expander.word("it's \"$dir\" \\$x\n").unwrap().value, "it's \"/srv/app\" $x\n");
}

#[test]
fn words_without_variables_stay_as_they_are() {
    let raw = |text| shell_words(text, true, true).unwrap();
    assert_eq!(raw(r#"RUN "<<A" <<'B c' << D ${x:-y} a\ b"#), ["RUN", "\"<<A\"", "<<'B c'", "<< D", "${x:-y}", r"a\ b"]);
    assert_eq!(shell_words(r#"eo'f' \"x"#, false, false).unwrap(), ["eof", "\"x"]);
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[a$dir{}:+?#%/*\\\\'\"<ö \n-]{0,40}") {
        for escape in ['\\', '`'] {
            let expander = Expander::new(escape, &variables);
            // Both readings agree on what is well-formed.
            assert_eq!(expander.word(&text).is_ok(), expander.words(&text).is_ok());
        }
    }
}
