//! Templates as Docker's documentation shows them, and those that are wrong.

use serde_json::json;

use super::*;

fn subject() -> Subject {
    let fields = json!({
        "Id": "sha256:abc", "Name": "/web", "Ports": "80/tcp", "Empty": "", "Nothing": null, "Count": 3, "On": true,
        "State": {"Status": "running", "Pid": 7},
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"b.c": "2", "a": "1"}, "None": []},
        "Networks": {"z": {"IP": "10.0.0.2"}, "front": {"IP": "10.0.0.1"}},
    });
    let mut methods = Map::new();
    methods.insert("Label".into(), json!({"com.example.x": "yes"}));
    Subject { fields, methods }
}

fn render(template: &str) -> Result<String, TemplateError> {
    template.parse::<Template>()?.render(&subject())
}

#[test]
fn what_templates_say() {
    for (template, text) in [
        ("plain", "plain"),
        ("{{.Id}}", "sha256:abc"),
        ("{{ .Id }}\\t{{.Name}}\\n", "sha256:abc\t/web\n"),
        ("{{.State.Status}} {{.State.Pid}}", "running 7"),
        ("{{json .State}}", r#"{"Status":"running","Pid":7}"#),
        ("{{.State.Pid | json}}", "7"),
        ("{{json .Nothing}} {{.Nothing}}", "null <no value>"),
        ("{{.Config.Env}} {{.Config.Labels}}", "[A=1 B=2] map[a:1 b.c:2]"),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range $k, $v := .Networks}}{{$k}}={{$v.IP}};{{end}}", "front=10.0.0.1;z=10.0.0.2;"),
        ("{{range $v := .Config.Env}}{{$v}}{{$.Name}} {{end}}", "A=1/web B=2/web "),
        ("{{range .Config.None}}x{{else}}none{{end}}", "none"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Empty}}x{{else}}-{{end}}", "running-"),
        ("{{if .Empty}}a{{else if .On}}b{{else}}c{{end}}", "b"),
        ("{{if and .On (eq .State.Status \"running\" \"paused\")}}up{{end}}", "up"),
        ("{{if or .Empty .Nothing}}x{{end}}{{if not .Empty}}y{{end}}", "y"),
        ("{{index .Config.Labels \"b.c\"}} {{index .Config.Env 1}}", "2 B=2"),
        ("{{(index .Networks \"front\").IP}}", "10.0.0.1"),
        ("{{.Label \"com.example.x\"}}{{.Label \"none\"}}", "yes"),
        ("{{join .Config.Env \", \"}} {{upper .Name}} {{title \"two words\"}} {{.Name | lower}}", "A=1, B=2 /WEB Two Words /web"),
        ("{{truncate .Id 3}} {{pad .Name 1 2}}| {{len .Config.Env}}", "sha  /web  | 2"),
        ("{{printf \"%-8s|%5d|%05d|%q|%.2s%%\" .Ports .Count .Count .Name .Id}}", "80/tcp  |    3|00003|\"/web\"|sh%"),
        ("{{print .Count .Count .Name}}{{println .Count}}", "3 3/web3\n"),
        ("{{range split .Id \":\"}}{{.}} {{end}}", "sha256 abc "),
        ("{{gt .Count 2}} {{le .Count 2.5}} {{ne .Name \"x\"}}", "true false true"),
        ("a  {{- /* nothing */ -}}  b", "ab"),
        ("a {{- .Count -}} b", "a3b"),
        ("{{$x := .Count}}{{$x}}{{$x = 5}}{{$x}}", "35"),
        ("{{`raw \"x\"`}} {{\"é\\\"\\n\"}}", "raw \"x\" é\"\n"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (template, part) in [
        ("{{.Nme}}", "no field \".Nme\""),
        ("{{.State.Nme}}", "no field \".Nme\""),
        ("{{.Nothing.X}}", "no field \".X\""),
        ("{{range .Config.Env}}{{.Label \"x\"}}{{end}}", "no field \".Label\""),
        ("{{$x}}", "no variable \"$x\""),
        ("{{.Id", "`{{` without `}}`"),
        ("{{}}", "nothing to show"),
        ("{{if .Id}}x", "`if` has no `end`"),
        ("{{range .Id}}{{end}}", "`range` goes through lists"),
        ("{{end}}", "`end` without a beginning"),
        ("{{frob .Id}}", "no function `frob`"),
        ("{{.Id \"x\"}}", "takes no arguments"),
        ("{{index .Config.Env 9}}", "not so many elements"),
        ("{{template \"x\"}}", "not supported"),
        ("{{\"a}}", "the text has no end"),
        ("{{printf \"%d\" .Id}}", "%d does not take"),
        ("{{printf \"%s\"}}", "fewer arguments"),
        ("{{lt .Id 3}}", "cannot be compared"),
        ("{{(.Id}}", "expected `)`"),
    ] {
        let error = render(template).expect_err(template).to_string();
        assert!(error.contains(part), "{template}: {error}");
    }
    let hint = render("{{.State.X}}").unwrap_err().hint();
    assert_eq!(hint.as_deref(), Some("the fields here are .Status, .Pid"));
}
