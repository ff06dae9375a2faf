//! The schemas on disk, and what they say of manifests.

use super::*;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `SETPOINT_WRITE_SCHEMAS=1` writes them.
#[test]
fn schemas_on_disk_are_fresh() {
    for (name, schema) in schemas() {
        let path = project().join("schemas").join(name);
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("SETPOINT_WRITE_SCHEMAS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(known == text, "{} is stale: run the tests with SETPOINT_WRITE_SCHEMAS=1", path.display());
    }
}

fn to_json(node: &Node) -> Value {
    match &node.value {
        super::super::tree::Value::Null => Value::Null,
        super::super::tree::Value::Marked(_, node) => to_json(node),
        super::super::tree::Value::List(items) => items.iter().map(to_json).collect(),
        super::super::tree::Value::Map(entries) => {
            entries.iter().map(|(key, value)| (key.text.clone(), to_json(value))).collect()
        }
        super::super::tree::Value::Scalar(scalar) => match scalar.kind() {
            super::super::tree::ScalarKind::Text => json!(scalar.text),
            super::super::tree::ScalarKind::Bool => json!(scalar.text.eq_ignore_ascii_case("true")),
            super::super::tree::ScalarKind::Number => {
                scalar.text.parse::<i64>().map_or_else(|_| json!(scalar.text.parse::<f64>().unwrap()), |n| json!(n))
            }
        },
    }
}

fn validate(schema: &str, text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&schemas()[schema]).unwrap();
    let mut problems = Problems::default();
    let file = problems.file(Path::new("x"), text);
    let documents = super::super::tree::parse(file, text, &mut problems);
    documents.iter().flat_map(|d| validator.iter_errors(&to_json(d)).map(|e| e.to_string()).collect::<Vec<_>>()).collect()
}

#[test]
fn schemas_accept_what_the_reader_accepts() {
    let manifest = "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec:\n  image: x\n  ports: [80, \"1:2\"]\n  mem_limit: ${M}\n  cpus: 0.5\n  environment: {A: 1, B: }\n  networks: {front: }\n";
    assert_eq!(validate("setpoint-v1.json", manifest), [""; 0]);
    assert_eq!(validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: a}\n"), [""; 0]);
    assert!(!validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {nam: a}\n").is_empty());
    assert!(
        !validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec: {port: [1]}\n")
            .is_empty()
    );
    let compose = "name: x\nx-y: {}\nservices:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y, healthcheck: {test: [CMD, a]}, volumes: [{type: tmpfs, target: /x}]}\nvolumes: {v: }\n";
    assert_eq!(validate("compose.json", compose), [""; 0]);
    assert!(!validate("compose.json", "services: {a: {image: x, command: 5}}").is_empty());
}

/// Every folder of `examples/` is a stack that loads, and its files obey the schemas.
#[test]
fn examples_load_and_obey_the_schemas() {
    let Ok(examples) = std::fs::read_dir(project().join("examples")) else { return };
    for example in examples {
        let path = example.unwrap().path();
        let has_yaml = |dir: &Path| {
            std::fs::read_dir(dir).unwrap().any(|f| f.unwrap().path().extension().is_some_and(|e| e == "yaml" || e == "yml"))
        };
        if !path.is_dir() || !has_yaml(&path) {
            continue;
        }
        // What is imported may be made by the example's own script.
        let fingerprint =
            |_: Source<'_>| -> Result<Found, Box<dyn std::error::Error + Send + Sync>> { Ok(Digest::of(b"").into()) };
        let options = LoadOptions {
            stack: None,
            environment: BTreeMap::new(),
            over: vec![],
            scale: BTreeMap::new(),
            fingerprint: &fingerprint,
        };
        if let Err(errors) = load(&path, &options) {
            panic!("{errors}");
        }
        for file in std::fs::read_dir(&path).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                let schema = if super::super::files::is_compose_name(&file) { "compose.json" } else { "setpoint-v1.json" };
                let text = std::fs::read_to_string(&file).unwrap();
                assert_eq!(validate(schema, &text), [""; 0], "{}", file.display());
            }
        }
    }
}
