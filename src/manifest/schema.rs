//! JSON Schemas of manifests and compose files, made from the tables that the reader obeys and the types of the model,
//! so that editors complete and check. Knows nothing of files.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::document::KINDS;
use super::fields::{self, Form, Table};

/// The schemas by the names of their files.
pub fn schemas() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([("compose.json", compose()), ("setpoint-v1.json", manifest())])
}

fn manifest() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut kinds = Vec::new();
    for kind in KINDS {
        let table = match kind {
            "Image" => &fields::IMAGE,
            "Container" => &fields::CONTAINER,
            "Network" => &fields::NETWORK,
            "Volume" => &fields::VOLUME,
            "Config" => &fields::CONFIG,
            "Secret" => &fields::SECRET,
            _ => &fields::STACK,
        };
        let mut schema = object(&fields::DOCUMENT, &mut generator);
        let mut spec = object(table, &mut generator);
        let needed = matches!(kind, "Image" | "Container" | "Config" | "Secret");
        if !needed {
            spec["type"] = json!(["object", "null"]);
        }
        match kind {
            "Image" => {
                let ways = super::images::WAYS.map(|way| json!({"required": [way]}));
                spec["oneOf"] = json!(ways);
            }
            "Config" => spec["oneOf"] = json!(["file", "content", "environment"].map(|source| json!({"required": [source]}))),
            "Secret" => spec["oneOf"] = json!(["file", "environment"].map(|source| json!({"required": [source]}))),
            _ => {}
        }
        schema["title"] = json!(kind);
        schema["properties"]["kind"] = json!({"const": kind, "description": "What the manifest declares"});
        schema["properties"]["spec"] = spec;
        if needed && let Some(required) = schema["required"].as_array_mut() {
            required.push(json!("spec"));
        }
        kinds.push(schema);
    }
    document("A manifest of setpoint", json!({"oneOf": kinds}), generator)
}

fn compose() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = object(&fields::COMPOSE, &mut generator);
    let service = &mut schema["properties"]["services"]["anyOf"][0]["additionalProperties"];
    service["properties"]["extends"] = json!({
        "description": "A service to begin with, of this file or of another",
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"service": {"type": "string"}, "file": {"type": "string"}},
                "additionalProperties": false,
                "required": ["service"],
            },
        ],
    });
    // A file may be laid over another that says what the image is, or that is extended.
    if let Some(service) = service.as_object_mut() {
        service.remove("anyOf");
    }
    document("A compose file, as setpoint reads it", schema, generator)
}

fn document(title: &str, body: Value, mut generator: SchemaGenerator) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(title));
    if let Value::Object(body) = body {
        schema.extend(body);
    }
    schema.insert("$defs".into(), Value::Object(generator.take_definitions(true)));
    Value::Object(schema)
}

fn object(table: &Table, generator: &mut SchemaGenerator) -> Value {
    let mut properties = Map::new();
    for field in table.fields {
        let mut schema = form(&field.form, generator);
        // An empty value is an absent one, unless the field must be there.
        if !field.required {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema["description"] = json!(field.about);
        properties.insert(field.name.to_owned(), schema);
    }
    for (_, name, why) in fields::WITHOUT_EFFECT.iter().filter(|(what, ..)| *what == table.what) {
        properties.insert((*name).to_owned(), json!({"description": format!("Without effect: {why}")}));
    }
    let required: Vec<&str> = table.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": false,
        "required": required,
    });
    if std::ptr::eq(table, &fields::CONTAINER) {
        schema["anyOf"] = json!([{"required": ["image"]}, {"required": ["build"]}]);
    }
    schema
}

fn form(form_: &Form, generator: &mut SchemaGenerator) -> Value {
    match form_ {
        Form::Text => json!({"type": "string"}),
        Form::Word => json!({"type": ["string", "number"]}),
        // A variable may stand where anything else does.
        Form::Bool => json!({"anyOf": [{"type": "boolean"}, variable()]}),
        Form::Integer => json!({"anyOf": [{"type": "integer"}, variable()]}),
        Form::Choice(words) => json!({"anyOf": [{"enum": words}, variable()]}),
        Form::Of(make) => {
            let schema = make(generator).to_value();
            json!({"anyOf": [schema, variable()]})
        }
        Form::Object(table) => object(table, generator),
        Form::List(item) => json!({"type": "array", "items": form(item, generator)}),
        Form::Map(value) => json!({"type": "object", "additionalProperties": form(value, generator)}),
        Form::Named(value) => {
            let value = form(value, generator);
            json!({"type": "object", "additionalProperties": {"anyOf": [value, {"type": "null"}]}})
        }
        Form::Either(forms) => {
            let forms: Vec<Value> = forms.iter().map(|one| form(one, generator)).collect();
            json!({"anyOf": forms})
        }
    }
}

fn variable() -> Value {
    json!({"type": "string", "pattern": "\\$"})
}
