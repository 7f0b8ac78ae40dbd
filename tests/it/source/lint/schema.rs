//! The schema of `tollfree.toml`, read by a validator that is not ours.

use serde_json::{Value, json};

use super::super::{
    schema::samples,
    tools::{root, run, tool},
};

/// Prints the first complaint about each file of a list, or an empty line.
const VALIDATE: &str = r#"
import json, sys, jsonschema
schema, files = (json.load(open(path)) for path in sys.argv[1:])
validator = jsonschema.Draft7Validator(schema)
validator.check_schema(schema)
for file in files:
    print(*(error.message.replace("\n", " ") for error in list(validator.iter_errors(file))[:1]))
"#;

#[test]
fn the_schema_accepts_the_example_and_exactly_what_the_program_accepts() {
    let example = std::fs::read_to_string(root().join("tollfree.example.toml")).unwrap();
    let everything_on = example.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect::<Vec<_>>();
    let read = |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    let mut all = samples();
    all.push(("the example".to_owned(), read(&example), true));
    all.push(("the example with every line".to_owned(), read(&everything_on.join("\n")), true));

    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files.json");
    let values: Vec<&Value> = all.iter().map(|(_, file, _)| file).collect();
    std::fs::write(&files, json!(values).to_string()).unwrap();
    let output = run(tool("python").args(["-c", VALIDATE, "tollfree.schema.json"]).arg(&files));
    let complaints: Vec<&str> = output.lines().collect();
    assert_eq!(complaints.len(), all.len(), "{output}");
    for ((title, _, is_right), complaint) in all.iter().zip(complaints) {
        assert_eq!(*is_right, complaint.is_empty(), "{title}: {complaint}");
    }
}
